"""A user's own files: every usual layout is understood, every bad row is told with its line."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.market import BAR_SCHEMA, TRADE_SCHEMA, Interval
from pipelines.sources.files import (
    FILE_REJECT_SCHEMA,
    LINE_SCHEMA,
    FileError,
    FileRows,
    read_file,
    read_parts,
)
from pipelines.sources.files_values import times

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON = datetime(2024, 3, 1, 12)
GOOD = "2024-03-01T12:00:00Z,100,102,99,101,5.5,7"
BITFINEX = ["ts", "open", "close", "high", "low", "volume"]
pytestmark = pytest.mark.capability("ING-13")


def written(folder: Path, text: str | bytes, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path, symbol: str | None = "BTCUSDT", **options: object) -> FileRows:
    return read_file(path, "mine", NOW, symbol=symbol, **options)  # type: ignore[arg-type]


def minutes(rows: FileRows) -> list[int]:
    return [int((ts - NOON).total_seconds() // 60) for ts in rows.frame["ts"]]


def told(rows: FileRows) -> list[tuple[int, str]]:
    return list(rows.rejects.select("line", "reason").iter_rows())


def test_a_bar_keeps_every_value(tmp_path: Path) -> None:
    rows = read(written(tmp_path, "ts,open,high,low,close,volume,trades\n" + GOOD + "\n"), "btcusdt")
    assert rows.frame.schema == pl.Schema({**BAR_SCHEMA, **LINE_SCHEMA})
    assert rows.rejects.schema == pl.Schema(FILE_REJECT_SCHEMA)
    assert rows.frame.row(0, named=True) == {
        "source": "mine", "symbol": "BTCUSDT", "ts": NOON, "open": 100.0, "high": 102.0, "low": 99.0,
        "close": 101.0, "volume": 5.5, "turnover": None, "trades": 7, "venue": "mine", "is_closed": True,
        "payload": GOOD, "line": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "time;o;h;l;c;v\n1709294400;100;102;99;101;5.5\n",
        "Open time,Open,High,Low,Close,Volume,Quote asset volume\n1709294400000,100,102,99,101,5.5,555\n",
        '"timestamp","open","high","low","close","volume"\n"1709294400000000","100","102","99","101","5.5"\n',
        "# made by hand\n\nDate,Open,High,Low,Close,Volume\n2024-03-01 12:00,100,102,99,101,5.5\n",
        "Exported by a tool\nunix,symbol,open,high,low,close,volume\n1709294400,btcusdt,100,102,99,101,5.5\n",
        "1709294400000000000,100,102,99,101,5.5\n",
        "2024-03-01T13:00:00+01:00,100,102,99,101,5.5,3",
        "\ufeffts,open,high,low,close,volume\r\n2024-03-01 12:00:00,100,102,99,101,5.5\r\n",
        "close,low,high,open,volume,datetime\n101,99,102,100,5.5,2024/03/01 12:00:00.000\n",
        "ts|open|high|low|close|volume\n1.7092944e9|1e2|102.0|99|101|5.5\n",
        "date\topen\thigh\tlow\tclose\tvolume\n20240301120000000\t1\t1\t1\t1\t1\n1709294400\t100\t102\t99\t101\t5.5\n",
    ],
)
def test_the_same_bar_in_many_spellings(tmp_path: Path, text: str) -> None:
    rows = read(written(tmp_path, text))
    values = rows.frame.select("symbol", "ts", "open", "high", "low", "close", "volume").row(0)
    assert values == ("BTCUSDT", NOON, 100.0, 102.0, 99.0, 101.0, 5.5)
    assert rows.frame.height == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_a_text_of_another_encoding(tmp_path: Path, encoding: str) -> None:
    text = f"ts,open,high,low,close,volume\n{GOOD.removesuffix(',7')}\n"
    assert minutes(read(written(tmp_path, text.encode(encoding)))) == [0]


def test_bad_rows_are_told_with_line_reason_and_words(tmp_path: Path) -> None:
    lines = [
        "ts,open,high,low,close,volume",
        "2024-03-01T12:00:00Z,100,102,99,101,5.5",
        "2024-03-01T12:01:00Z,100,1o2,99,101,5.5",
        "yesterday,100,102,99,101,5.5",
        "2024-03-01T12:02:00Z,100,102",
        "",
        "2024-03-01T12:03:00Z,100,102,99,101,",
        "2024-03-01T12:04:00Z,100,102,99,101,5.5,1,2",
        "2024-02-30T12:04:00Z,100,102,99,101,5.5",
        "2024-03-01T12:05:00Z,100,102,99,101,6",
    ]
    rows = read(written(tmp_path, "\n".join(lines) + "\n"))
    assert minutes(rows) == [0, 5]
    assert rows.frame["line"].to_list() == [2, 10]
    assert told(rows) == [
        (3, "unreadable high"),
        (4, "unreadable time"),
        (5, "wrong number of fields"),
        (7, "unreadable volume"),
        (8, "wrong number of fields"),
        (9, "unreadable time"),
    ]
    assert rows.rejects["payload"].to_list() == [lines[line - 1] for line, _ in told(rows)]
    assert rows.rejects["detail"][0] == 'high is "1o2"'
    stamps = [NOON + timedelta(minutes=n) if n else None for n in (1, None, 2, 3, 4, None)]
    assert rows.rejects["ts"].to_list() == stamps
    assert set(rows.rejects["symbol"]) == {rows.frame["symbol"][0]}


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (
            "170929440",
            "reads as 1975-06-02T08:24:00Z; looks like an epoch number of 9 digits; seconds have 10",
        ),
        ("17092944000", "reads as 2511-08-28T00:00:00Z; looks like an epoch number of 11 digits"),
        ("45352", "reads as 1970-01-01T12:35:52Z; looks like an epoch number of 5 digits"),
        ("0", "looks like an epoch number of 1 digits"),
        ("2042-03-01T00:00:00Z", "looks like a wrong year"),
        ("1970-01-01T00:00:00Z", "looks like an epoch of 0, a missing time"),
        ("2026-11-22T12:00:01Z", "looks like a wrong year"),
    ],
)
def test_a_time_of_a_wrong_unit_is_refused(tmp_path: Path, time: str, words: str) -> None:
    text = f"ts,open,high,low,close,volume\n{time},100,102,99,101,5.5\n{GOOD.removesuffix(',7')}\n"
    rows = read(written(tmp_path, text))
    assert told(rows) == [(2, "timestamp out of range")]
    assert rows.rejects["detail"][0].startswith(f"timestamp out of range: {time} reads as")
    assert words in rows.rejects["detail"][0]


@given(st.datetimes(datetime(2001, 9, 9, 2), datetime(2026, 11, 21)))
def test_an_epoch_of_any_unit_is_the_same_moment(moment: datetime) -> None:
    seconds = int(moment.replace(microsecond=0, tzinfo=UTC).timestamp())
    spelt = [str(seconds), str(seconds * 10**3), str(seconds * 10**6), str(seconds * 10**9), f"{seconds}.0"]
    iso = moment.replace(microsecond=0).isoformat()
    read_ = times(pl.Series([*spelt, iso, iso + "Z", iso.replace("T", " ") + "+00:00"]), NOW)
    assert read_["ts"].unique().to_list() == [moment.replace(microsecond=0)]
    assert read_["reason"].null_count() == read_.height


def test_a_cut_last_line_is_told_as_such(tmp_path: Path) -> None:
    text = "ts,open,high,low,close,volume\n" + GOOD.removesuffix(",7") + "\n2024-03-01T12:01:00Z,100,10"
    rows = read(written(tmp_path, text))
    assert (minutes(rows), told(rows)) == ([0], [(3, "truncated line")])


def test_a_last_line_without_an_end_is_a_row(tmp_path: Path) -> None:
    assert minutes(read(written(tmp_path, GOOD))) == [0]


def test_a_cut_gzip_gives_what_it_holds(tmp_path: Path) -> None:
    start = datetime(2024, 3, 1)
    lines = [
        f"{(start + timedelta(minutes=n)).isoformat()},{n + 1},{n + 3}.5,{n}.25,{n + 2},{n * n}"
        for n in range(999)
    ]
    whole = gzip.compress("\n".join(lines).encode())
    rows = read(written(tmp_path, whole[: len(whole) * 2 // 3], "bars.csv.gz"))
    assert 100 < rows.frame.height < 999
    assert rows.rejects.height <= 1


def test_doubles_are_kept_once_and_contradictions_told(tmp_path: Path) -> None:
    lines = ["ts,open,high,low,close,volume"]
    for minute, volume in ((1, 5), (0, 5), (1, 5), (1, 6), (0, 5)):
        lines.append(f"2024-03-01T12:0{minute}:00Z,100,102,99,101,{volume}")
    path = written(tmp_path, "\n".join(lines))
    rows = read(path)
    assert (minutes(rows), rows.doubles, told(rows)) == ([1, 0], 2, [(5, "duplicate row")])
    assert rows.rejects["detail"][0] == "line 2 has the same ts and other values; it stands"
    in_parts = list(read_parts(path, "mine", NOW, symbol="BTCUSDT", chunk_bytes=50))
    assert len(in_parts) > 2
    assert pl.concat([part.frame for part in in_parts]).equals(rows.frame)
    assert pl.concat([part.rejects for part in in_parts]).equals(rows.rejects)


def test_several_symbols_in_one_file(tmp_path: Path) -> None:
    lines = [f"{name},2024-03-01 12:0{n}:00,1,1,1,1,1" for n in range(3) for name in ("aapl", "MSFT", "")]
    path = written(tmp_path, "ticker,time,open,high,low,close,volume\n" + "\n".join(lines))
    rows = read(path, None)
    assert rows.frame["symbol"].to_list() == ["AAPL", "MSFT"] * 3
    assert told(rows) == [(4, "no symbol"), (7, "no symbol"), (10, "no symbol")]
    assert read(path, "msft").frame["symbol"].to_list() == ["MSFT"] * 3
    with pytest.raises(FileError, match="no TSLA in it, but AAPL, MSFT"):
        read(written(tmp_path, path.read_text().replace(",,", "")), "TSLA")


def test_without_any_symbol_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="whose prices are these\\? Give --symbol"):
        read(written(tmp_path, GOOD), None)


def test_the_interval_is_given_named_or_seen(tmp_path: Path) -> None:
    lines = [f"{(NOON + timedelta(minutes=5 * n)).isoformat()},1,1,1,1,1" for n in (0, 1, 2, 7, 8)]
    path = written(tmp_path, "\n".join(lines))
    assert read(path).interval == Interval(300)
    assert read(path, interval=Interval(60)).interval == Interval(60)
    assert read(written(tmp_path, lines[0])).interval == Interval(60)


def test_a_bar_that_is_not_over_is_open(tmp_path: Path) -> None:
    path = written(tmp_path, "2026-11-21T11:58:30Z,1,1,1,1,1\n2026-11-21T11:59:30Z,1,1,1,1,1\n")
    assert read(path).frame["is_closed"].to_list() == [True, False]


def test_an_order_without_names_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    lines = [f"{1709294400000 + n * 60000},100,101,103,99,5" for n in range(6)]
    with pytest.raises(
        FileError, match=r"6 of 6 moving bars contradict the order .* put the true order as its first line"
    ):
        read(written(tmp_path, "\n".join(lines)))
    named = written(tmp_path, "\n".join(["ts,open,close,high,low,volume", *lines]))
    assert read(named).frame.select("high", "low", "close").row(0) == (103.0, 99.0, 101.0)
    dictated = read(written(tmp_path, "\n".join(lines)), columns=BITFINEX)
    assert dictated.frame.select("high", "low", "close").row(0) == (103.0, 99.0, 101.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Date,Shell,RDP\n2024-03-01,1,2\n", "columns Date, Shell, RDP: neither bars"),
        (
            "unix,open,high,low,close,Volume BTC,Volume USD\n1709294400,1,1,1,1,1,1\n",
            "which of Volume BTC, Volume USD",
        ),
        ("1,2,3\n", "3 columns without a header; put a header"),
        ("", "the file is empty"),
        ("\n\n", "empty or comments"),
        (b"ARROW1\0\0rest", "an Arrow/Feather file is not understood"),
        (b"PK\x03\x04nonsense", "a damaged zip"),
        (b"PAR1nonsense", "not a readable Parquet file"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(FileError, match=words):
        read(written(tmp_path, text))


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.csv: No such file"):
        read(tmp_path / "absent.csv")


KLINE = "{t},0.00002853,0.00002854,0.00002851,0.00002854,36304.2,{e},1.03547608,79,19523,0.55694227,0"
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)


def bulk(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("header", [[], [KLINE_HEADER]])
@pytest.mark.parametrize("unit", [1, 1000])
def test_a_binance_bulk_zip_of_klines(tmp_path: Path, header: list[str], unit: int) -> None:
    rows_ = [KLINE.format(t=(1637971200000 + n * 60000) * unit, e=0) for n in range(3)]
    path = bulk(tmp_path, "ADABTC-1m-2021-11-27", header + rows_)
    rows = read_file(path, "binance", NOW)
    assert (rows.interval, rows.frame["symbol"][0], rows.frame["ts"][0]) == (
        Interval(60),
        "ADABTC",
        datetime(2021, 11, 27),
    )
    assert rows.frame.select("volume", "turnover", "trades").row(0) == (36304.2, 1.03547608, 79)
    assert rows.frame["line"][0] == 1 + len(header)


def test_the_checksum_beside_a_bulk_file_is_held_against_it(tmp_path: Path) -> None:
    path = bulk(tmp_path, "ADABTC-1d-2021-11-27", [KLINE.format(t=1637971200000, e=0)])
    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert read_file(path, "binance", NOW).interval == Interval(86400)
    beside.write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(
        FileError, match="the file is damaged or was replaced by the venue: download both again"
    ):
        read_file(path, "binance", NOW)


def test_a_binance_bulk_zip_of_aggregate_trades(tmp_path: Path) -> None:
    lines = [
        "26129,0.01633102,4.70443515,27781,27783,1709294400000,True,True",
        "26130,0.0163,1,27784,27784,1709294400001,False,True",
    ]
    rows = read_file(bulk(tmp_path, "BNBBTC-aggTrades-2024-03-01", lines), "binance", NOW)
    assert rows.kind == "trades"
    assert rows.frame.schema == pl.Schema({**TRADE_SCHEMA, **LINE_SCHEMA})
    assert rows.frame.select("symbol", "trade_id", "ts", "price", "qty", "side", "fills").rows() == [
        ("BNBBTC", 26129, NOON, 0.01633102, 4.70443515, "sell", 3),
        ("BNBBTC", 26130, NOON + timedelta(milliseconds=1), 0.0163, 1.0, "buy", 1),
    ]


def test_single_fills_do_not_mix_with_binance_aggregates(tmp_path: Path) -> None:
    line = "28457,4.00000100,12.00000000,48.000012,1709294400000,True,True"
    path = bulk(tmp_path, "BNBBTC-trades-2024-03-01", [line])
    with pytest.raises(FileError, match="import BNBBTC-aggTrades"):
        read_file(path, "binance", NOW)
    assert read_file(path, "fills", NOW).frame.select("trade_id", "price", "side").row(0) == (
        28457,
        4.000001,
        "sell",
    )


def test_a_zip_of_several_files_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "x")
        archive.writestr("b.csv", "x")
    with pytest.raises(FileError, match=r"holds 2 files \(a\.csv, b\.csv\)"):
        read(path)


def test_trades_by_our_own_names(tmp_path: Path) -> None:
    lines = ["2024-03-01T12:00:00.123456Z,5,100,0.5,BUY", "1709294400,6,x,1,sell", "1709294400,z,1,1,b"]
    rows = read(written(tmp_path, "\n".join(["ts,trade_id,price,qty,side", *lines])))
    assert rows.frame.select("ts", "trade_id", "side").row(0) == (
        NOON + timedelta(microseconds=123456),
        5,
        "buy",
    )
    assert told(rows) == [(3, "unreadable price"), (4, "unreadable trade_id")]


def test_trades_without_ids_get_the_same_ones_at_every_import(tmp_path: Path) -> None:
    text = "ts,price,qty\n1709294400,100,1\n1709294400,101,1\n1709294401,102,1\n"
    ids = read(written(tmp_path, text)).frame["trade_id"].to_list()
    assert ids == read(written(tmp_path, text)).frame["trade_id"].to_list()
    assert ids == sorted(set(ids))


def test_parquet_by_aliases_and_zones(tmp_path: Path) -> None:
    times_ = pl.Series([NOON, None]).dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    frame = pl.DataFrame(
        {
            "Date": times_,
            "Open": [1, 1], "High": [2, 2], "Low": [1, 1], "Close": [2, 2], "Volume": [10, 10],
        }
    )  # fmt: skip
    frame.write_parquet(tmp_path / "x.parquet")
    rows = read(tmp_path / "x.parquet")
    assert (rows.frame["ts"].to_list(), rows.frame["volume"].to_list()) == ([NOON], [10.0])
    assert told(rows) == [(2, "unreadable time")]


REAL = {
    "bars_1m/freqtrade_unittest_btc_1m.parquet": (13681, "1m"),
    "bars_1m/freqtrade_xrp_eth_1m.parquet": (2469, "1m"),
    "bars_1m/iaqf2023_binance_btcusdt_1m.parquet": (30240, "1m"),
    "bars_1m/iaqf2023_coinbase_btcusd_1m.parquet": (29950, "1m"),
    "bars_1m/iaqf2023_kraken_usdcusd_1m.parquet": (20934, "1m"),
    "bars_1m/nautilus_6EH4_cme_202401_1m.csv.gz": (29996, "1m"),
    "bars_1m/nautilus_gbpusd_ask_2012_1m.parquet": (30117, "1m"),
    "bars_5m/freqtrade_dash_btc_5m.parquet": (5758, "5m"),
    "bars_5m/freqtrade_zec_btc_5m.parquet": (5757, "5m"),
    "trades/freqtrade_xrp_eth_trades.parquet": (12477, None),
    "trades/freqtrade_xrpeth_binance_aggtrades_raw.parquet": (12477, None),
}
REAL_WITH_SYMBOLS = {
    "bars_1m/lean_coinbase_20180404_0406_1m.parquet": (13886, 4, "1m"),
    "bars_1m/lean_us_equity_20131004_1011_1m.parquet": (13429, 4, "1m"),
    "bars_1s/lean_us_equity_aig_ibm_20131007_08_1s.parquet": (22318, 2, "1s"),
    "daily/chan_ko_1d.parquet": (11592, 1, "1d"),
    "trades/lean_ibm_ticks_20131007_08.parquet": (57674, 1, None),
    "binance_vision/ADABTC-1m-2021-11-27.csv": (10, 1, "1m"),
    "binance_vision/ADABTC-1m-2021-11-28.csv": (11, 1, "1m"),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_recorded_files_are_read_whole(shared_data: Path, name: str) -> None:
    rows = read(shared_data / name)
    height, interval = REAL[name]
    assert (rows.frame.height, rows.rejects.height, rows.doubles) == (height, 0, 0)
    assert rows.interval == (Interval.parse(interval) if interval else None)


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL_WITH_SYMBOLS)
def test_recorded_files_bring_their_symbols(shared_data: Path, name: str) -> None:
    rows = read(shared_data / name, None)
    height, symbols, interval = REAL_WITH_SYMBOLS[name]
    assert (rows.frame.height, rows.frame["symbol"].n_unique(), rows.rejects.height) == (height, symbols, 0)
    assert rows.interval == (Interval.parse(interval) if interval else None)


@pytest.mark.realdata
def test_recorded_bitfinex_files_need_their_order_named(shared_data: Path) -> None:
    path = shared_data / "bars_1m" / "bitfinex_ltcusd_2013_1m.csv.gz"
    with pytest.raises(FileError, match="4437 of 4437 moving bars contradict"):
        read(path)
    rows = read(path, columns=BITFINEX)
    assert (rows.frame.height, rows.rejects.height) == (18645, 0)
    assert rows.frame.filter(pl.col("high") < pl.col("low")).is_empty()


@pytest.mark.realdata
def test_both_recordings_of_one_tape_say_the_same(shared_data: Path) -> None:
    plain = read(shared_data / "trades" / "freqtrade_xrp_eth_trades.parquet").frame
    raw = read(shared_data / "trades" / "freqtrade_xrpeth_binance_aggtrades_raw.parquet").frame
    same = ["trade_id", "ts", "price", "qty", "side"]
    assert plain.select(same).equals(raw.select(same))
