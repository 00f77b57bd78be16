/* Tapewatch charts on lightweight-charts: one column store, panes that share it, bands, shaded anomalies,
   hatched gaps, a legend a pane, keyboard, print. Data arrive by TW.rows() from classic scripts. */
(function () {
  "use strict";
  const TW = (window.TW = window.TW || {});
  const LC = window.LightweightCharts;
  const parts = {};
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const alpha = (hex, a) => {
    const n = parseInt(hex.slice(1), 16);
    return "rgba(" + (n >> 16) + "," + ((n >> 8) & 255) + "," + (n & 255) + "," + a + ")";
  };
  const minus = (text) => text.replace("-", "\u2212");
  const numbers = {};
  const fixed = (v, digits) => {
    const f = (numbers[digits] = numbers[digits] || new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
    const text = f.format(v);
    return minus(/^-0(\.0*)?$/.test(text) ? text.slice(1) : text);
  };
  const compactFormat = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 4 });
  const FORMATS = {
    compact: () => (v) => minus(Math.abs(v) < 1e-12 ? "0" : compactFormat.format(v)),
    fixed: (digits) => (v) => fixed(v, digits),
    signed: (digits) => (v) => (v > 0 ? "+" : "") + fixed(v, digits),
    percent: (digits) => (v) => (v > 0 ? "+" : "") + fixed(v, digits) + " %",
  };
  const marginsOf = (pane) => pane.margins || [0.14, 0.06];
  const formatOf = (s) => FORMATS[s.format || "fixed"](s.digits === undefined ? 2 : s.digits);

  /* ---- columns ---- */
  TW.rows = function (name, part, payload) {
    const t = [];
    payload.runs.forEach(([start, n]) => { for (let i = 0; i < n; i++) t.push(start + i * payload.step); });
    payload.t = t;
    (parts[name] = parts[name] || {})[part] = payload;
  };
  /* The tail laid over the days (of which no two overlap). A tail of few bars a day spans nights, and so may begin
     before a day's file and end after it: where both have a bar, the tail's holds. */
  function join(days, tail) {
    days = days.filter((p) => p && p.t.length).sort((a, b) => a.t[0] - b.t[0]);
    const list = tail && tail.t.length ? days.concat([tail]) : days;
    const out = { t: [], c: {}, zones: [], gaps: [], marks: [], step: list.length ? list[0].step : 60 };
    const names = new Set(list.flatMap((p) => Object.keys(p.c)));
    names.forEach((k) => { out.c[k] = []; });
    const push = (p, j) => { out.t.push(p.t[j]); names.forEach((k) => { const column = p.c[k]; out.c[k].push(column ? column[j] : null); }); };
    const late = tail ? tail.t : [];
    let next = 0;
    days.forEach((p) => p.t.forEach((sec, j) => {
      while (next < late.length && late[next] < sec) push(tail, next++);
      if (late[next] !== sec) push(p, j);
    }));
    while (next < late.length) push(tail, next++);
    list.forEach((p) => ["zones", "gaps", "marks"].forEach((k) => { if (p[k]) out[k] = out[k].concat(p[k]); }));
    return out;
  }
  /* Session VWAP: turnover over volume since the day began (UTC; a session never crosses it). */
  function dayVwap(data) {
    const { t, c } = data;
    if (!c.vwap || !c.volume || !c.close) return;
    let day = null, money = 0, volume = 0;
    c.day_vwap = t.map((sec, i) => {
      const d = Math.floor(sec / 86400);
      if (d !== day) { day = d; money = 0; volume = 0; }
      if (c.vwap[i] === null || !c.volume[i]) return c.close[i] === null || !volume ? null : money / volume;
      money += c.vwap[i] * c.volume[i];
      volume += c.volume[i];
      return money / volume;
    });
  }

  /* ---- primitives: one object is primitive, view and renderer ---- */
  class Drawn {
    attached(p) { this.chart = p.chart; this.series = p.series; this.requestUpdate = p.requestUpdate; }
    detached() { this.chart = null; }
    updateAllViews() {}
    paneViews() { return [this]; }
    renderer() { return this; }
    zOrder() { return "bottom"; }
    draw(target) {
      if (!this.chart || this.hidden) return;
      target.useBitmapCoordinateSpace((scope) => this.paint(scope.context, scope.horizontalPixelRatio, scope.verticalPixelRatio, scope.bitmapSize));
    }
  }
  class Band extends Drawn {
    constructor(lo, hi, color, edge) { super(); Object.assign(this, { lo, hi, color, edge }); }
    paint(ctx, h, v) {
      const ts = this.chart.timeScale(), range = ts.getVisibleLogicalRange();
      if (!range) return;
      const from = Math.max(0, Math.floor(range.from)), to = Math.min(this.lo.length - 1, Math.ceil(range.to));
      const x = (i) => ts.logicalToCoordinate(i) * h, y = (p) => this.series.priceToCoordinate(p) * v;
      const color = css(this.color);
      for (let i = from; i <= to; i++) {
        if (this.lo[i] === null || this.hi[i] === null) continue;
        let end = i;
        while (end < to && this.lo[end + 1] !== null && this.hi[end + 1] !== null) end++;
        const area = new Path2D(), top = new Path2D(), bottom = new Path2D();
        for (let k = i; k <= end; k++) { area.lineTo(x(k), y(this.hi[k])); top.lineTo(x(k), y(this.hi[k])); }
        for (let k = end; k >= i; k--) { area.lineTo(x(k), y(this.lo[k])); bottom.lineTo(x(k), y(this.lo[k])); }
        area.closePath();
        ctx.fillStyle = alpha(color, 0.09);
        ctx.fill(area);
        if (this.edge) { ctx.strokeStyle = alpha(color, 0.45); ctx.lineWidth = Math.max(1, h); ctx.stroke(top); ctx.stroke(bottom); }
        i = end;
      }
    }
    autoscaleInfo(from, to) {
      if (this.hidden) return null;
      let min = Infinity, max = -Infinity;
      for (let i = Math.max(0, Math.floor(from)); i <= Math.min(this.lo.length - 1, Math.ceil(to)); i++) {
        if (this.lo[i] !== null) min = Math.min(min, this.lo[i]);
        if (this.hi[i] !== null) max = Math.max(max, this.hi[i]);
      }
      return min <= max ? { priceRange: { minValue: min, maxValue: max } } : null;
    }
  }
  class Zones extends Drawn {
    constructor(data, first) { super(); this.data = data; this.first = first; }
    span(ts, from, to, h, width) {
      const a = ts.timeToIndex(from, true), b = ts.timeToIndex(to, true);
      if (a === null || b === null) return null;
      const half = ts.options().barSpacing / 2;
      const left = (ts.logicalToCoordinate(a) - half) * h, right = (ts.logicalToCoordinate(Math.max(a, b)) + half) * h;
      // Between setData and the next frame the scale may give coordinates without bounds.
      if (!(right > 0 && left < width)) return null;
      return [Math.max(left, -9 * h), Math.min(right, width + 9 * h)];
    }
    paint(ctx, h, v, size) {
      const ts = this.chart.timeScale(), t = this.data.t;
      if (!t.length) return;
      const seen = (z) => z[1] >= t[0] && z[0] <= t[t.length - 1];
      const muted = css("--muted");
      this.data.gaps.filter(seen).forEach((gap) => {
        const x = this.span(ts, gap[0], gap[1], h, size.width);
        if (!x) return;
        ctx.save();
        ctx.beginPath(); ctx.rect(x[0], 0, x[1] - x[0], size.height); ctx.clip();
        ctx.fillStyle = alpha(muted, 0.1); ctx.fillRect(x[0], 0, x[1] - x[0], size.height);
        ctx.strokeStyle = alpha(muted, 0.38); ctx.lineWidth = h; ctx.beginPath();
        for (let k = Math.floor(x[0] / (7 * h)) * 7 * h - size.height; k < x[1]; k += 7 * h) { ctx.moveTo(k, size.height); ctx.lineTo(k + size.height, 0); }
        ctx.stroke(); ctx.restore();
        if (this.first) { ctx.fillStyle = muted; ctx.fillRect(x[0], 0, x[1] - x[0], 3 * v); this.word(ctx, gap[2], x, size, h, v, muted); }
      });
      let right = -Infinity;
      this.data.zones.filter(seen).forEach((zone) => {
        const x = this.span(ts, zone[0], zone[1], h, size.width);
        if (!x) return;
        const color = css("--" + zone[2]);
        ctx.fillStyle = alpha(color, zone[2] === "info" ? 0.06 : 0.13);
        ctx.fillRect(x[0], 0, x[1] - x[0], size.height);
        if (!this.first) return;
        ctx.fillStyle = color; ctx.fillRect(x[0], 0, x[1] - x[0], 3 * v);
        right = this.word(ctx, zone[3], x, size, h, v, color, right);
      });
    }
    word(ctx, text, x, size, h, v, color, right) {
      ctx.font = "600 " + 11 * v + "px " + css("--sans");
      const width = ctx.measureText(text).width + 8 * h, mid = (x[0] + x[1]) / 2;
      const left = Math.min(Math.max(mid - width / 2, 2 * h), size.width - width - 2 * h);
      if (right !== undefined && left < right) return right;
      ctx.fillStyle = alpha(css("--panel"), 0.86); ctx.fillRect(left, size.height - 19 * v, width, 15 * v);
      ctx.fillStyle = color; ctx.textBaseline = "middle"; ctx.textAlign = "left";
      ctx.fillText(text, left + 4 * h, size.height - 11 * v);
      return left + width;
    }
  }

  /* ---- series rows ---- */
  const DASH = { solid: 0, dotted: 1, dashed: 2 };
  const candleRows = (d) => d.t.map((time, i) => {
    const open = d.c.open[i], high = d.c.high[i], low = d.c.low[i], close = d.c.close[i];
    return open === null || high === null || low === null || close === null ? { time } : { time, open, high, low, close };
  });
  /* A line bridges missing rows, so the last point before a hole is made transparent. */
  function lineRows(d, s) {
    const column = d.c[s.key] || [], color = css(s.color), hot = s.hot !== undefined ? css("--hot") : null;
    return d.t.map((time, i) => {
      const value = column[i];
      if (value === null || value === undefined) return { time };
      const next = column[i + 1];
      if (i + 1 < column.length && (next === null || next === undefined)) return { time, value, color: "transparent" };
      return hot && Math.abs(next === undefined ? value : next) > s.hot ? { time, value, color: hot } : { time, value, color };
    });
  }
  function barRows(d, s) {
    const up = css("--c-vol-up"), down = css("--c-vol-down"), hot = css("--hot");
    return d.t.map((time, i) => {
      const value = d.c[s.key] ? d.c[s.key][i] : null;
      if (value === null) return { time };
      const ratio = s.ratio && d.c[s.ratio] ? d.c[s.ratio][i] : null;
      return { time, value, color: ratio !== null && ratio > s.limit ? hot : s.sign ? (value >= 0 ? up : down) : d.c.close[i] >= d.c.open[i] ? up : down };
    });
  }
  const KINDS = {
    candles: { type: () => LC.CandlestickSeries, rows: candleRows },
    ohlc: { type: () => LC.BarSeries, rows: candleRows },
    line: { type: () => LC.LineSeries, rows: lineRows },
    area: { type: () => LC.AreaSeries, rows: (d, s) => lineRows(d, s).map((r) => (r.value === undefined ? r : { time: r.time, value: r.value })) },
    bars: { type: () => LC.HistogramSeries, rows: barRows },
  };
  function styleOf(s) {
    const base = { priceLineVisible: false, lastValueVisible: !!s.tag, title: "", priceFormat: Object.assign({ type: "custom", formatter: formatOf(s) }, s.silent ? { tickmarksFormatter: (prices) => prices.map(() => "") } : {}, { minMove: Math.pow(10, -(s.digits === undefined ? 2 : s.digits)) }) };
    const color = s.color ? css(s.color) : undefined;
    if (s.kind === "candles" || s.kind === "ohlc") {
      const up = css("--up"), down = css("--down");
      return Object.assign(base, { upColor: s.kind === "ohlc" ? up : css("--panel"), downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down, lastValueVisible: false });
    }
    if (s.kind === "area") return Object.assign(base, { lineColor: color, topColor: alpha(color, 0.28), bottomColor: alpha(color, 0.02), lineWidth: 2, lastValueVisible: false });
    if (s.kind === "bars") return Object.assign(base, { lastValueVisible: false });
    return Object.assign(base, { color, lineWidth: s.width || 2, lineStyle: DASH[s.dash || "solid"], crosshairMarkerRadius: 3 });
  }

  /* ---- time ---- */
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (n) => String(n).padStart(2, "0");
  function clock(local) {
    const g = local
      ? (d) => [d.getFullYear(), d.getMonth(), d.getDate(), d.getHours(), d.getMinutes()]
      : (d) => [d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes()];
    const at = (sec) => g(new Date(sec * 1000));
    return {
      label: (sec) => { const [y, m, d, h, n] = at(sec); return d + " " + MONTHS[m] + " " + y + " " + two(h) + ":" + two(n) + (local ? "" : " UTC"); },
      day: (sec) => { const [y, m, d] = at(sec); return d + " " + MONTHS[m] + " " + y; },
      short: (sec) => { const [, m, d, h, n] = at(sec); return d + " " + MONTHS[m] + " " + two(h) + ":" + two(n) + (local ? "" : " UTC"); },
      tick: (sec, type) => { const [y, m, d, h, n] = at(sec); return type === 0 ? String(y) : type === 1 ? MONTHS[m] : type === 2 ? d + " " + MONTHS[m] : two(h) + ":" + two(n); },
    };
  }

  /* ---- one chart ---- */
  class Chart {
    constructor(box, spec, data) {
      Object.assign(this, { box, spec, data, items: [], legends: [], hiddenLayers: new Set(), local: false });
      spec.panes.forEach((p) => p.series.forEach((s) => { if (s.layer && s.off) this.hiddenLayers.add(s.layer); }));
      (spec.layers || []).forEach((l) => { if (l.off) this.hiddenLayers.add(l.id); });
      this.build();
    }
    /* Only what the theme changes: applying timeScale again and taking a screenshot in one task never returns. */
    colours() {
      const line = { color: css("--cross"), labelBackgroundColor: css("--cross"), style: 2 };
      return {
        layout: {
          background: { type: "solid", color: css("--panel") }, textColor: css("--axis"), fontSize: 11.5, fontFamily: css("--sans"),
          attributionLogo: false, panes: { enableResize: true, separatorColor: css("--line"), separatorHoverColor: alpha(css("--accent"), 0.25) },
        },
        grid: { vertLines: { color: css("--grid") }, horzLines: { color: css("--grid") } },
        crosshair: { mode: 0, vertLine: line, horzLine: Object.assign({}, line) },
      };
    }
    options() {
      const c = clock(this.local);
      return Object.assign(this.colours(), {
        autoSize: true,
        rightPriceScale: { borderVisible: false, minimumWidth: 74, entireTextOnly: true },
        timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false, minBarSpacing: 0.05, enableConflation: true, lockVisibleTimeRangeOnResize: true, tickMarkFormatter: c.tick },
        localization: { timeFormatter: c.label, locale: "en-GB" },
        handleScroll: { vertTouchDrag: false, mouseWheel: !!this.focused }, handleScale: { mouseWheel: !!this.focused },
      });
    }
    build() {
      this.chart = LC.createChart(this.box, this.options());
      this.spec.panes.forEach((pane, index) => {
        pane.series.forEach((s) => {
          if (pane.levels) s.silent = true;
          const api = this.chart.addSeries(KINDS[s.kind].type(), styleOf(s), index);
          this.items.push({ s, api, pane: index });
          if (s.scale === "whole") api.applyOptions({ autoscaleInfoProvider: () => ({ priceRange: { minValue: s.range[0], maxValue: s.range[1] } }) });
          if (s.background) api.applyOptions({ autoscaleInfoProvider: () => null });
        });
        const main = this.items.filter((item) => item.pane === index)[0].api;
        (pane.bands || []).forEach((b) => {
          const lo = typeof b.lo === "number" ? this.data.t.map(() => b.lo) : this.data.c[b.lo];
          const hi = typeof b.hi === "number" ? this.data.t.map(() => b.hi) : this.data.c[b.hi];
          if (!lo || !hi) return;
          const band = new Band(lo, hi, b.color || "--c-band", b.edge !== false);
          band.layer = b.layer;
          band.hidden = this.hiddenLayers.has(b.layer);
          main.attachPrimitive(band);
          this.items.push({ band, pane: index });
        });
        (pane.levels || []).forEach((l) => this.items.push({
          level: l, pane: index,
          line: main.createPriceLine({ price: l.at, color: css(l.color), lineStyle: DASH.dotted, lineWidth: 1, axisLabelVisible: true, axisLabelColor: css("--panel"), axisLabelTextColor: css(l.color), title: "" }),
        }));
        const pad = marginsOf(pane);
        this.chart.priceScale("right", index).applyOptions({ scaleMargins: { top: pad[0], bottom: pad[1] } });
      });
      this.chart.panes().forEach((pane, i) => {
        pane.setStretchFactor(this.spec.panes[i].stretch || 1);
        pane.attachPrimitive(new Zones(this.data, i === 0));
      });
      this.marker = LC.createSeriesMarkers(this.items[0].api, [], { zOrder: "top" });
      this.fill();
      this.last();
      this.legend();
      this.chart.subscribeCrosshairMove((param) => this.show(param.logical === undefined || param.logical === null || !param.point ? null : Math.round(param.logical)));
      this.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.onRange && this.onRange());
    }
    fill() {
      this.items.forEach((item) => {
        if (item.api) { item.api.setData(KINDS[item.s.kind].rows(this.data, item.s)); item.api.applyOptions({ visible: !this.hiddenLayers.has(item.s.layer) }); }
      });
      const first = this.data.t[0], final = this.data.t[this.data.t.length - 1];
      this.marker.setMarkers(this.data.marks.filter((m) => m[0] >= first && m[0] <= final).map((m) => ({
        time: m[0], position: m[1] > 0 ? "aboveBar" : "belowBar", shape: m[1] > 0 ? "arrowDown" : "arrowUp", color: css("--hot"), text: m[2], size: 0.7,
      })));
    }
    /* Hollow candles would hide the library's own last-value tag, so the last price is a line of ours. */
    last() {
      const main = this.items[0], s = main.s;
      if (!s.last) return;
      const column = this.data.c[s.last];
      let i = column.length - 1;
      while (i >= 0 && column[i] === null) i--;
      if (i < 0) return;
      const rising = this.data.c.open ? column[i] >= this.data.c.open[i] : true;
      const color = css(rising ? "--up" : "--down");
      const options = { price: column[i], color, lineStyle: DASH.dotted, lineWidth: 1, axisLabelVisible: true, axisLabelColor: color, axisLabelTextColor: css("--panel"), title: "" };
      if (this.lastLine) this.lastLine.applyOptions(options); else this.lastLine = main.api.createPriceLine(options);
    }
    legend() {
      this.legends = this.spec.panes.map(() => { const div = document.createElement("div"); div.className = "legend"; div.setAttribute("aria-hidden", "true"); this.box.appendChild(div); return div; });
      /* The legend of a narrow chart has several lines: the pane's lines begin below them. */
      const place = () => {
        let top = 0;
        this.chart.panes().forEach((pane, i) => {
          const height = pane.getHeight(), pad = marginsOf(this.spec.panes[i]);
          this.legends[i].style.top = top + 2 + "px";
          top += height + 1;
          const least = height ? Math.min(0.6, (this.legends[i].offsetHeight + 6) / height) : 0;
          this.chart.priceScale("right", i).applyOptions({ scaleMargins: { top: Math.max(pad[0], least), bottom: pad[1] } });
        });
      };
      const watch = () => {
        const panes = this.chart.panes().map((pane) => pane.getHTMLElement());
        if (panes.some((el) => !el)) return requestAnimationFrame(watch);
        this.observer = new ResizeObserver(place);
        panes.forEach((el) => this.observer.observe(el));
        place();
      };
      requestAnimationFrame(watch);
      this.show(null);
    }
    show(index) {
      const n = this.data.t.length;
      const i = index === null || index < 0 || index >= n ? n - 1 : index;
      this.at = i;
      this.spec.panes.forEach((pane, p) => {
        const div = this.legends[p];
        if (!div) return;
        div.textContent = "";
        const add = (label, text, options) => {
          const span = document.createElement("span");
          if (options && options.color) { const key = document.createElement("span"); key.className = "key"; key.style.background = css(options.color); span.appendChild(key); }
          if (label) span.appendChild(document.createTextNode(label + " "));
          if (text !== undefined) { const value = document.createElement("i"); value.textContent = text; if (options && options.hot) value.className = "hot"; span.appendChild(value); }
          div.appendChild(span);
        };
        const title = document.createElement("b");
        title.textContent = pane.title;
        const wrap = document.createElement("span");
        wrap.appendChild(title);
        div.appendChild(wrap);
        if (p === 0 && n) add("", (this.data.step >= 86400 ? clock(this.local).day : clock(this.local).short)(this.data.t[i]), {});
        (pane.legend || []).forEach((l) => {
          if (l.layer && this.hiddenLayers.has(l.layer)) return;
          const column = this.data.c[l.key];
          const value = column ? column[i] : null;
          const missing = value === null || value === undefined;
          const hot = !missing && l.hot !== undefined && Math.abs(value) > l.hot;
          const few = missing && l.need && this.spec.have < l.need ? this.spec.have + " of " + l.need + " bars" : "no data";
          add(l.label, missing ? few : formatOf(l)(value) + (l.unit || "") + (hot ? " !" : ""), { color: l.color, hot });
        });
      });
    }
    range(bars) {
      const n = this.data.t.length;
      if (bars) bars = Math.min(bars, Math.max(n, 40));
      const pad = Math.max(2, Math.round((bars || n) * 0.03));
      this.chart.timeScale().setVisibleLogicalRange({ from: bars ? n - bars - 0.5 : -0.5, to: n + pad - 0.5 });
    }
    toggle(layer) {
      if (this.hiddenLayers.has(layer)) this.hiddenLayers.delete(layer); else this.hiddenLayers.add(layer);
      this.items.forEach((item) => {
        if (item.api) item.api.applyOptions({ visible: !this.hiddenLayers.has(item.s.layer) });
        if (item.band) { item.band.hidden = this.hiddenLayers.has(item.band.layer); if (item.band.requestUpdate) item.band.requestUpdate(); }
      });
      this.show(null);
    }
    setLog(on) { this.chart.priceScale("right", 0).applyOptions({ mode: on ? LC.PriceScaleMode.Logarithmic : LC.PriceScaleMode.Normal }); }
    setLocal(on) {
      this.local = on;
      const c = clock(on);
      this.chart.applyOptions({ localization: { timeFormatter: c.label }, timeScale: { tickMarkFormatter: c.tick } });
      this.show(this.at);
    }
    focus(on) { this.focused = on; this.chart.applyOptions({ handleScroll: { vertTouchDrag: false, mouseWheel: on }, handleScale: { mouseWheel: on } }); }
    restyle() {
      this.chart.applyOptions(this.colours());
      this.items.forEach((item) => {
        if (item.api) item.api.applyOptions(styleOf(item.s));
        if (item.line) item.line.applyOptions({ color: css(item.level.color), axisLabelColor: css("--panel"), axisLabelTextColor: css(item.level.color) });
      });
      this.fill();
      this.last();
      this.show(this.at);
    }
    move(by) {
      const i = Math.min(this.data.t.length - 1, Math.max(0, (this.at === undefined ? this.data.t.length - 1 : this.at) + by));
      const main = this.items[0];
      this.chart.setCrosshairPosition(NaN, this.data.t[i], main.api);
      const range = this.chart.timeScale().getVisibleLogicalRange();
      if (range && (i < range.from || i > range.to)) { const d = i < range.from ? i - range.from - 2 : i - range.to + 2; this.chart.timeScale().setVisibleLogicalRange({ from: range.from + d, to: range.to + d }); }
      this.show(i);
      return this.legends.map((l) => l.textContent).join("; ");
    }
    zoom(factor) {
      const r = this.chart.timeScale().getVisibleLogicalRange();
      if (r) this.chart.timeScale().setVisibleLogicalRange({ from: r.to - Math.max(8, (r.to - r.from) * factor), to: r.to });
    }
    pan(share) {
      const r = this.chart.timeScale().getVisibleLogicalRange();
      if (r) { const d = (r.to - r.from) * share; this.chart.timeScale().setVisibleLogicalRange({ from: r.from + d, to: r.to + d }); }
    }
    first() {
      const r = this.chart.timeScale().getVisibleLogicalRange();
      if (r) this.chart.timeScale().setVisibleLogicalRange({ from: -0.5, to: r.to - r.from - 0.5 });
    }
    picture() { const img = new Image(); img.className = "print"; img.alt = this.spec.label; img.src = this.chart.takeScreenshot().toDataURL(); return img; }
    remove() {
      if (this.observer) this.observer.disconnect();
      this.legends.forEach((l) => l.remove());
      this.chart.remove();
    }
  }

  /* ---- what a symbol and a pair look like ---- */
  function symbolSpec(page, interval, type, panes) {
    const p = { digits: page.digits, format: "fixed" };
    const color = type === "line" || type === "area" ? "--c-line" : undefined;
    const main = Object.assign({ kind: type, key: "close", color, last: "close", width: 2 }, p);
    const line = (key, label, c, layer, extra) => Object.assign({ kind: "line", key, color: c, layer, width: 2 }, p, extra);
    const spec = {
      label: page.symbol + ", " + interval + " bars",
      layers: [{ id: "sma20", label: "SMA 20" }, { id: "sma50", label: "SMA 50", off: true }, { id: "ema12", label: "EMA 12", off: true }, { id: "ema26", label: "EMA 26" }, { id: "bb", label: "BB" }, { id: "vwap", label: "VWAP" }],
      panes: [{
        title: interval, stretch: 5, margins: [0.12, 0.06],
        series: [main, line("sma_20", "SMA 20", "--c-sma", "sma20"), line("sma_50", "SMA 50", "--c-calm", "sma50", { width: 1 }), line("ema_12", "EMA 12", "--c-line", "ema12", { width: 1 }),
          line("ema_26", "EMA 26", "--c-ema", "ema26"), line("day_vwap", "VWAP", "--c-vwap", "vwap", { dash: "dashed", background: true })],
        bands: [{ lo: "bb_lower", hi: "bb_upper", layer: "bb" }],
        legend: [{ label: "O", key: "open" }, { label: "H", key: "high" }, { label: "L", key: "low" }, { label: "C", key: "close" }].map((l) => Object.assign(l, p)).concat([
          { label: "SMA 20", need: 20, key: "sma_20", color: "--c-sma", layer: "sma20" }, { label: "SMA 50", need: 50, key: "sma_50", color: "--c-calm", layer: "sma50" },
          { label: "EMA 12", need: 12, key: "ema_12", color: "--c-line", layer: "ema12" }, { label: "EMA 26", need: 26, key: "ema_26", color: "--c-ema", layer: "ema26" },
          { label: "VWAP", key: "day_vwap", color: "--c-vwap", layer: "vwap" }].map((l) => Object.assign(l, p))),
      }],
    };
    if (panes.volume) spec.panes.push({
      title: "Volume", stretch: 1.7, margins: [0.22, 0],
      series: [{ kind: "bars", key: "volume", ratio: "volume_ratio", limit: page.limits.volume_ratio, format: "compact", digits: 8 }, { kind: "line", key: "baseline", color: "--text", width: 1, dash: "dashed", format: "compact", digits: 8 }],
      legend: [{ label: "", key: "volume", format: "compact" }, { label: "baseline", key: "baseline", color: "--text", format: "compact" }, { label: "ratio", key: "volume_ratio", digits: 1, unit: "×", hot: page.limits.volume_ratio }],
    });
    if (panes.rsi) spec.panes.push({
      title: "RSI 14", stretch: 1.5, margins: [0.2, 0.06],
      series: [{ kind: "line", key: "rsi_14", color: "--c-ema", digits: 1, width: 2 }], bands: [{ lo: page.limits.rsi_low, hi: page.limits.rsi_high, color: "--c-ema", edge: false }],
      levels: [{ at: page.limits.rsi_high, color: "--hot" }, { at: page.limits.rsi_low, color: "--hot" }], legend: [{ label: "", key: "rsi_14", need: 15, digits: 1 }],
    });
    if (panes.macd) spec.panes.push({
      title: "MACD 12 26 9", stretch: 1.4, margins: [0.22, 0.06],
      series: [{ kind: "bars", key: "macd_hist", sign: true, digits: page.digits + 2 }, { kind: "line", key: "macd", color: "--c-line", width: 1, digits: page.digits + 2 }, { kind: "line", key: "macd_signal", color: "--c-alt", width: 1, digits: page.digits + 2 }],
      legend: [{ label: "", key: "macd", need: 34, color: "--c-line", digits: page.digits + 1, format: "signed" }, { label: "signal", key: "macd_signal", color: "--c-alt", digits: page.digits + 1, format: "signed" }, { label: "histogram", key: "macd_hist", digits: page.digits + 1, format: "signed" }],
    });
    if (panes.z) spec.panes.push({
      title: "z-score 20", stretch: 1.5, margins: [0.2, 0.06],
      series: [{ kind: "line", key: "zscore_20", color: "--c-line", digits: 1, format: "signed", width: 2, hot: page.limits.zscore }], bands: [{ lo: -page.limits.zscore, hi: page.limits.zscore, edge: false }],
      levels: [{ at: page.limits.zscore, color: "--hot" }, { at: 0, color: "--axis" }, { at: -page.limits.zscore, color: "--hot" }], legend: [{ label: "", key: "zscore_20", need: 21, digits: 2, format: "signed", hot: page.limits.zscore }],
    });
    return spec;
  }
  function pairSpec(page) {
    const leg = { format: "percent", digits: 2, width: 2, tag: true };
    return {
      label: page.pair,
      layers: [{ id: "band", label: "±" + page.limits.zscore + "σ band" }, { id: "mean", label: "Mean" }],
      panes: [
        { title: "Legs since the start of the view", stretch: 3, margins: [0.14, 0.06],
          series: [Object.assign({ kind: "line", key: "leg_y", color: "--c-ema" }, leg), Object.assign({ kind: "line", key: "leg_x", color: "--c-sma" }, leg)],
          legend: [Object.assign({ label: page.y, key: "leg_y", color: "--c-ema" }, leg), Object.assign({ label: "β·" + page.x, key: "leg_x", color: "--c-sma" }, leg)] },
        { title: "Spread, log price × 10⁴", stretch: 2.4, margins: [0.14, 0.06],
          series: [{ kind: "line", key: "spread_bp", color: "--c-line", digits: 1, tag: true, width: 2 }, { kind: "line", key: "mean_bp", color: "--axis", dash: "dotted", width: 1, digits: 1, layer: "mean" }],
          bands: [{ lo: "lower_bp", hi: "upper_bp", layer: "band" }],
          legend: [{ label: "", key: "spread_bp", color: "--c-line", digits: 1, format: "signed" }, { label: "mean", key: "mean_bp", digits: 1, format: "signed", layer: "mean" }, { label: "−" + page.limits.zscore + "σ", key: "lower_bp", digits: 1, format: "signed", layer: "band" }, { label: "+" + page.limits.zscore + "σ", key: "upper_bp", digits: 1, format: "signed", layer: "band" }] },
        { title: "z-score of the spread", stretch: 2, margins: [0.16, 0.08],
          series: [{ kind: "line", key: "zscore", color: "--c-line", digits: 1, format: "signed", hot: page.limits.zscore, width: 2 }], bands: [{ lo: -page.limits.zscore, hi: page.limits.zscore, edge: false }],
          levels: [{ at: page.limits.stop, color: "--critical" }, { at: page.limits.zscore, color: "--hot" }, { at: 0, color: "--axis" }, { at: -page.limits.zscore, color: "--hot" }, { at: -page.limits.stop, color: "--critical" }],
          legend: [{ label: "", key: "zscore", digits: 2, format: "signed", hot: page.limits.zscore }] },
        { title: "Rolling correlation of log returns", stretch: 1.3, margins: [0.24, 0.08],
          series: [{ kind: "line", key: "corr", color: "--c-calm", digits: 2, tag: true, width: 2 }], legend: [{ label: "ρ", key: "corr", digits: 3 }] },
      ],
    };
  }
  /* Both legs as per cent since the first bar of the view, the x leg times beta: their distance is the spread. */
  function legs(data, beta, from) {
    const { c } = data;
    const base = (column) => { for (let i = Math.max(0, from); i < column.length; i++) if (column[i] !== null) return column[i]; return null; };
    const by = (column, b) => { const first = base(column); return column.map((v) => (v === null || first === null ? null : b * Math.log(v / first) * 100)); };
    c.leg_y = by(c.close_y, 1);
    c.leg_x = by(c.close_x, beta === null ? 1 : beta);
  }

  /* ---- the page's controls ---- */
  const RANGES = { "1m": [["1 h", 60], ["3 h", 180], ["12 h", 720], ["24 h", 1440], ["All", 0]] };
  const rangesOf = (interval) => RANGES[interval] || [["60 bars", 60], ["120", 120], ["250", 250], ["500", 500], ["All", 0]];
  function button(bar, label, pressed, act) {
    const b = document.createElement("button");
    b.type = "button"; b.className = "btn"; b.textContent = label;
    if (pressed !== null) b.setAttribute("aria-pressed", String(pressed));
    b.addEventListener("click", () => act(b));
    bar.appendChild(b);
    return b;
  }
  const press = (b, on) => b.setAttribute("aria-pressed", String(on));
  function select(bar, label, options, chosen, act) {
    const s = document.createElement("select");
    s.setAttribute("aria-label", label);
    options.forEach(([value, text]) => { const o = document.createElement("option"); o.value = value; o.textContent = text; o.selected = value === chosen; s.appendChild(o); });
    s.addEventListener("change", () => { act(s.value); s.blur(); });
    bar.appendChild(s);
  }
  const gap = (bar) => { const g = document.createElement("span"); g.className = "gap"; bar.appendChild(g); };

  function start(box) {
    const page = JSON.parse(document.getElementById(box.dataset.page).textContent);
    const root = document.documentElement.dataset.root || "";
    const bar = document.getElementById("chartbar");
    const live = document.getElementById("chartlive");
    const memory = "chart-" + page.slug;
    const kept = JSON.parse(TW.read(memory) || "{}");
    const narrow = window.innerWidth < 860;
    const state = Object.assign({ interval: page.intervals ? page.intervals[0] : page.interval, bars: narrow ? 60 : page.bars || 180, type: "candles", off: null, log: false, local: false, macd: false }, kept);
    if (page.intervals && !page.intervals.includes(state.interval)) state.interval = page.intervals[0];
    const save = () => TW.keep(memory, JSON.stringify(state));
    let chart = null;

    function draw() {
      const store = parts[page.slug] || {};
      const days = () => Object.keys(store).filter((k) => k.startsWith("day:")).map((k) => store[k]);
      const data = page.kind === "pair" ? join([], store.tail) : state.interval === "1m" ? join(days(), store.tail) : join([], store[state.interval]);
      if (!data.t.length) { box.dataset.state = "empty"; return; }
      if (page.kind === "symbol") { if (state.interval === "1m") dayVwap(data); else data.c.day_vwap = data.t.map(() => null); }
      else legs(data, page.beta, state.bars ? data.t.length - state.bars : 0);
      const before = chart;
      const spec = page.kind === "pair" ? pairSpec(page) : symbolSpec(page, state.interval, state.type, { volume: true, rsi: true, macd: state.macd, z: true });
      if (state.interval !== "1m" && page.kind === "symbol") {
        spec.layers = spec.layers.filter((l) => l.id !== "vwap");
        spec.panes[0].series = spec.panes[0].series.filter((s) => s.layer !== "vwap");
        spec.panes[0].legend = spec.panes[0].legend.filter((l) => l.layer !== "vwap");
      }
      const fresh = spec.layers.filter((l) => state.off ? state.off.includes(l.id) : l.off).map((l) => l.id);
      spec.layers.forEach((l) => { l.off = fresh.includes(l.id); });
      spec.have = data.c.close ? data.c.close.filter((v) => v !== null).length : data.t.length;
      if (before) before.remove();
      chart = box.tw = new Chart(box, spec, data);
      if (state.log) chart.setLog(true);
      if (state.local) chart.setLocal(true);
      chart.range(state.bars);
      chart.onRange = () => { TW.dragging = true; clearTimeout(chart.rest); chart.rest = setTimeout(() => { TW.dragging = false; }, 2500); };
      box.dataset.state = "drawn";
      box.dataset.bars = String(data.t.length);
      controls(spec);
    }
    function controls(spec) {
      bar.textContent = "";
      const ranges = [];
      rangesOf(page.kind === "pair" && page.interval !== "1m" ? page.interval : state.interval).forEach(([label, bars]) => {
        ranges.push(button(bar, label, bars === state.bars, (b) => {
          state.bars = bars; save();
          ranges.forEach((other) => press(other, other === b));
          if (page.kind === "pair") draw(); else chart.range(bars);
        }));
      });
      if (page.intervals) select(bar, "Bar width", page.intervals.map((i) => [i, i]), state.interval, (v) => { state.interval = v; state.bars = v === "1m" ? 180 : 120; save(); want(); });
      if (page.kind === "symbol") select(bar, "Chart type", [["candles", "Candles"], ["ohlc", "Bars"], ["line", "Line"], ["area", "Area"]], state.type, (v) => { state.type = v; save(); draw(); });
      gap(bar);
      spec.layers.forEach((layer) => button(bar, layer.label, !chart.hiddenLayers.has(layer.id), (b) => {
        chart.toggle(layer.id); press(b, !chart.hiddenLayers.has(layer.id));
        state.off = Array.from(chart.hiddenLayers); save();
      }));
      if (page.kind === "symbol") {
        button(bar, "MACD", state.macd, () => { state.macd = !state.macd; save(); draw(); });
        button(bar, "Log", state.log, (b) => { state.log = !state.log; chart.setLog(state.log); press(b, state.log); save(); });
      }
      button(bar, "Local", state.local, (b) => { state.local = !state.local; chart.setLocal(state.local); press(b, state.local); save(); });
    }
    /* The tail first, so that something is drawn at once; then the frozen days, oldest last. */
    function want() {
      const base = root + "data/" + (page.kind === "pair" ? "pairs/" : "symbols/") + page.slug;
      if (page.kind === "symbol" && state.interval !== "1m") return TW.load(base + "/" + state.interval + ".js?" + Date.now(), draw);
      TW.load(base + ".js?" + Date.now(), () => {
        draw();
        let left = (page.days || []).length;
        (page.days || []).forEach((day) => TW.load(base + "/" + day + ".js?" + page.version, () => { left--; if (!left) draw(); }));
      });
    }
    box.tabIndex = 0;
    box.setAttribute("role", "application");
    box.setAttribute("aria-label", page.title + ". Arrow keys read bars, plus and minus zoom, 0 resets. The tables on this page hold the numbers.");
    box.addEventListener("focus", () => chart && chart.focus(true));
    box.addEventListener("blur", () => chart && chart.focus(false));
    box.addEventListener("pointerdown", () => box.focus({ preventScroll: true }));
    box.addEventListener("keydown", (event) => {
      if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = {
        ArrowLeft: () => (event.shiftKey ? chart.pan(-0.2) : chart.move(-1)), ArrowRight: () => (event.shiftKey ? chart.pan(0.2) : chart.move(1)),
        PageUp: () => chart.pan(-0.9), PageDown: () => chart.pan(0.9), Home: () => chart.first(), End: () => chart.range(state.bars),
        "+": () => chart.zoom(0.7), "=": () => chart.zoom(0.7), "-": () => chart.zoom(1.4), "0": () => chart.range(state.bars), Escape: () => box.blur(),
      };
      if (!keys[event.key]) return;
      event.preventDefault();
      const said = keys[event.key]();
      if (said) live.textContent = said;
    });
    TW.onTheme(() => chart && chart.restyle());
    /* The canvas repaints a frame too late for print, so a picture in the light theme stands in. */
    window.addEventListener("beforeprint", () => {
      if (!chart) return;
      const theme = TW.theme();
      document.documentElement.dataset.theme = "light";
      chart.restyle();
      box.appendChild(chart.picture());
      box.classList.add("printing");
      box.dataset.theme = theme;
    });
    window.addEventListener("afterprint", () => {
      box.querySelectorAll("img.print").forEach((img) => img.remove());
      box.classList.remove("printing");
      if (box.dataset.theme) document.documentElement.dataset.theme = box.dataset.theme;
      if (chart) chart.restyle();
    });
    want();
  }
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".chart[data-page]").forEach(start));
})();
