/* Tapewatch: theme, data age, reload on a new render, tables, copy. Classic script, no request but latest.js. */
(function () {
  "use strict";
  const TW = (window.TW = window.TW || {});
  const root = document.documentElement;
  const read = (store, key) => { try { return window[store].getItem("tw." + key); } catch (e) { return null; } };
  const keep = (store, key, value) => { try { window[store].setItem("tw." + key, value); } catch (e) { /* private mode */ } };
  TW.read = (key) => read("sessionStorage", key);
  TW.keep = (key, value) => keep("sessionStorage", key, value);

  /* Theme: set before the first paint, so nothing flashes. */
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const themed = [];
  TW.onTheme = (listener) => themed.push(listener);
  TW.theme = () => root.dataset.theme;
  function setTheme() {
    root.dataset.theme = read("localStorage", "theme") || (system.matches ? "dark" : "light");
    themed.forEach((listener) => listener());
  }
  setTheme();
  system.addEventListener("change", setTheme);

  /* Freshness: the market's clock runs on from the moment of the render. */
  const STALE_S = 180;
  let pulse = null;
  const marketNow = () => pulse.market_now + (Date.now() / 1000 - pulse.rendered_at);
  const two = (n) => String(n).padStart(2, "0");
  const hhmm = (s) => { const d = new Date(s * 1000); return two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()); };
  TW.ago = function (seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 120) return s + " s";
    if (s < 7200) return Math.floor(s / 60) + " min";
    if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
    return Math.floor(s / 86400) + " d";
  };
  function freshness(source, now) {
    if (source.closed && (!source.opens_at || now < source.opens_at)) return { closed: true, age: now - source.data_to };
    return { closed: false, age: now - Math.max(source.data_to, source.opens_at && now >= source.opens_at ? source.opens_at : 0) };
  }
  function tick() {
    const pill = document.getElementById("age");
    if (!pill || !pulse) return;
    const now = marketNow();
    const clock = document.getElementById("clock");
    const d = new Date(now * 1000);
    if (clock) { clock.textContent = hhmm(now) + " UTC"; clock.title = d.toISOString().slice(0, 10) + ", the market's time"; }
    const states = pulse.sources.map((s) => Object.assign({ name: s.source, to: s.data_to }, freshness(s, now)));
    const open = states.filter((s) => !s.closed).sort((a, b) => b.age - a.age);
    const banner = document.getElementById("stale");
    let state = "fresh";
    let text;
    if (!states.length) { state = "none"; text = pulse.counts.series ? "history only" : "no data yet"; }
    else if (!open.length) { state = "closed"; text = "markets closed, data to " + hhmm(Math.max(...states.map((s) => s.to))) + " UTC"; }
    else {
      state = open[0].age > STALE_S ? "stale" : "fresh";
      text = (state === "stale" ? "stale: " : "data ") + TW.ago(open[0].age) + (state === "stale" ? " old" : " ago");
    }
    pill.dataset.state = state;
    pill.textContent = text;
    pill.title = states.map((s) => s.name + ": " + (s.closed ? "closed, " : "") + "data to " + hhmm(s.to) + " UTC").join("\n");
    if (!banner) return;
    const stale = open.filter((s) => s.age > STALE_S);
    banner.classList.toggle("show", stale.length > 0);
    if (stale.length) {
      const rendered = Date.now() / 1000 - pulse.rendered_at;
      const old = rendered > STALE_S;
      banner.querySelector("b").textContent = old ? "Stale page" : "Stale data";
      banner.querySelector("span").textContent = (old
        ? " It was rendered " + TW.ago(rendered) + " ago, with " + stale.map((s) => s.name + " to " + hhmm(s.to) + " UTC").join(", ")
        : " The newest closed minute of " + stale.map((s) => s.name + " is " + TW.ago(s.age) + " old").join(", ")) +
        ". The numbers below are of that time. `tapewatch status` says what stands still.";
    }
    document.querySelectorAll("[data-age-of]").forEach((cell) => {
      const source = pulse.sources.find((one) => one.source === cell.dataset.ageOf);
      if (!source) return;
      const to = Number(cell.dataset.ageTo || source.data_to); /* a series' own newest minute, or the source's */
      const s = freshness(Object.assign({}, source, { data_to: to }), now);
      cell.textContent = s.closed ? "closed" : TW.ago(s.age);
    });
  }

  /* A new render: reload when this page changed, unless it is hidden or somebody works in it. */
  let pending = false;
  const busy = () => {
    const at = document.activeElement;
    const typing = at && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
    const selecting = window.getSelection && String(window.getSelection()).length > 0;
    return document.hidden || typing || selecting || TW.dragging;
  };
  function reloadIfDue() {
    if (pending && !busy()) { pending = false; location.reload(); }
  }
  TW.pulse = function (fresh) {
    pulse = fresh;
    const known = fresh.keys && fresh.keys[root.dataset.path];
    const changed = known ? known !== root.dataset.key : root.dataset.live === "1" && fresh.build !== root.dataset.build;
    if (!root.dataset.build) root.dataset.build = fresh.build;
    else if (changed) pending = true;
    const built = document.getElementById("built");
    if (built && fresh.rendered_text) built.textContent = fresh.rendered_text;
    tick();
    reloadIfDue();
    if (TW.onPulse) TW.onPulse(fresh);
  };
  function poll() {
    if (document.hidden && pulse) return;
    const tag = document.createElement("script");
    tag.src = (root.dataset.root || "") + "latest.js?" + Date.now();
    tag.onload = tag.onerror = () => tag.remove();
    document.head.appendChild(tag);
  }
  TW.load = function (path, done) {
    const tag = document.createElement("script");
    tag.src = path;
    tag.onload = () => { tag.remove(); done(true); };
    tag.onerror = () => { tag.remove(); done(false); };
    document.head.appendChild(tag);
  };

  /* Tables: sort by header, filter by text; both survive the reload. */
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell ? (cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim()) : "";
  };
  function compare(a, b) {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  }
  function sortTable(table, column, down) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    rows.sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      const order = compare(x, y);
      return x === "" || y === "" ? order : down ? -order : order;
    });
    rows.forEach((row) => body.appendChild(row));
    Array.from(table.tHead.rows[0].cells).forEach((th, i) => {
      if (i === column) th.setAttribute("aria-sort", down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
  }
  function sortable(table, index) {
    const name = root.dataset.path + "#sort" + index;
    Array.from(table.tHead.rows[0].cells).forEach((th, column) => {
      if (th.dataset.nosort !== undefined) return;
      const button = document.createElement("button");
      button.type = "button";
      while (th.firstChild) button.appendChild(th.firstChild);
      th.appendChild(button);
      button.addEventListener("click", () => {
        const now = th.getAttribute("aria-sort");
        const down = now ? now === "ascending" : th.classList.contains("num");
        sortTable(table, column, down);
        TW.keep(name, column + (down ? "d" : "u"));
      });
    });
    const kept = TW.read(name);
    if (kept) sortTable(table, parseInt(kept, 10), kept.endsWith("d"));
  }
  function filterable(input) {
    const table = document.getElementById(input.dataset.filters);
    const name = root.dataset.path + "#filter-" + input.dataset.filters;
    if (!table) return;
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      Array.from(table.tBodies[0].rows).forEach((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      });
      table.classList.toggle("sought", words.length > 0);
      input.setAttribute("aria-description", shown + " rows shown");
      TW.keep(name, input.value);
    };
    input.value = TW.read(name) || "";
    input.addEventListener("input", apply);
    if (input.value) apply();
  }
  /* On a phone a long table shows its first rows (the sheet hides the others) until somebody asks for all. */
  const FIRST_ROWS = 12;
  function shortened(table) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= FIRST_ROWS) return;
    const name = root.dataset.path + "#all-" + table.id;
    const button = document.createElement("button");
    button.type = "button"; button.className = "btn more";
    const show = (all) => { table.classList.toggle("all", all); button.textContent = all ? "first " + FIRST_ROWS + " only" : "all " + rows + " rows"; };
    button.addEventListener("click", () => { show(!table.classList.contains("all")); TW.keep(name, table.classList.contains("all") ? "1" : ""); });
    show(TW.read(name) === "1");
    table.parentElement.after(button);
  }
  function copy(button) {
    const text = document.getElementById(button.dataset.copy).textContent;
    const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = "copy"; }, 1500); };
    if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(done, () => byHand(text, done));
    else byHand(text, done);
  }
  function byHand(text, done) {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    document.body.appendChild(area);
    area.select();
    if (document.execCommand("copy")) done();
    area.remove();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const toggle = document.getElementById("theme");
    const label = () => toggle.setAttribute("aria-label", "Theme: " + TW.theme() + ". Switch to " + (TW.theme() === "dark" ? "light" : "dark"));
    if (toggle) {
      label();
      toggle.addEventListener("click", () => { keep("localStorage", "theme", TW.theme() === "dark" ? "light" : "dark"); setTheme(); label(); });
    }
    document.querySelectorAll("table[data-sort]").forEach(sortable);
    document.querySelectorAll("input[data-filters]").forEach(filterable);
    document.querySelectorAll("table.short").forEach(shortened);
    document.querySelectorAll("button[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
    const here = document.querySelector(".nav [aria-current]");
    if (here) { const nav = here.parentElement; nav.scrollLeft = here.offsetLeft - nav.offsetLeft - nav.clientWidth / 2 + here.clientWidth / 2; }
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const box = document.querySelector("input[data-filters]");
      if (box) { event.preventDefault(); box.focus(); }
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { poll(); reloadIfDue(); } });
    document.addEventListener("focusout", () => setTimeout(reloadIfDue, 300));
    document.addEventListener("selectionchange", () => setTimeout(reloadIfDue, 1000));
    poll();
    setInterval(poll, 2000);
    setInterval(() => { tick(); reloadIfDue(); }, 1000);
  });
})();
