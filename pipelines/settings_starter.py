"""The file `tapewatch config init` writes: every key with its default, commented out where it is one."""

STARTER = """\
# Tapewatch. Every key is optional; a commented one shows its default.
# The environment beats this file: TAPEWATCH_DATA_DIR, TAPEWATCH_SITE__PORT, TAPEWATCH_SOURCE__BINANCE__SYMBOLS.
# Secrets never stand here: write "env:NAME" (also from .env) or "file:PATH".

# data_dir = "data"          # warehouse, landing zone, Prefect's home
# site_dir = "site"          # the rendered pages
# log_level = "info"         # debug, info, warning, error, critical
# log_format = "auto"        # text on a terminal, JSON lines elsewhere; or text, json

[[source]]
name = "binance"             # the adapter; `tapewatch sources list` shows all
symbols = ["BTCUSDT", "ETHUSDT"]
fallback = ["coinbase", "kraken"]   # who stands in when it fails
stream = true                # trades by websocket as well; also binance_futures, coinbase, kraken, yahoo
# calendar = "24/7"          # or an exchange code such as "XNYS"
# base_url = "..."           # default: the venue's own market-data host
# stream_url = "..."         # default: the venue's own; at base_url where that is set
# bulk_url = "..."           # where Binance's daily archives lie, which heal what REST has no more
# rate_limit = 0             # requests a minute of your plan; 0: the venue's published limit
# budget = 0.5               # share of that limit to use at most
# timeout = "10s"
# history = "7d"             # how far back the first start goes

[[source]]
name = "yahoo"
symbols = ["AAPL", "MSFT", "GOOGL", "NVDA", "AMZN", "TSLA", "SPY"]
calendar = "XNYS"
# calendars = {"BTC-USD" = "24/7"}   # symbols that follow another calendar
# api_key = "env:..."        # for the providers that need one

[warehouse]                  # both empty: below data_dir
# catalog = "postgres:dbname=lake host=db.internal"   # may be "env:NAME", since it may hold a password
# storage = "s3://bucket/tapewatch"

[prefect]
# api_url = "http://127.0.0.1:4200/api"   # an existing server; else our own:
# host = "127.0.0.1"
# port = 4200

[site]
# host = "127.0.0.1"
# port = 8787

[collector]                  # what streams in lands in batches
# linger_ms = 10.0           # a batch waits so long for company
# batch_kb = 256             # and is at most so large
# queue_mb = 64              # waiting for a slow disk, before frames are dropped and counted
# codec = "zstd"             # of sealed segments; or "none"

[windows]
# intervals = ["5m", "15m", "30m", "1h", "4h", "1d"]

[indicators]                 # periods in bars
# sma = [20, 50, 200]
# ema = [12, 26]
# rsi = {period = 14, overbought = 70, oversold = 30}
# macd = {fast = 12, slow = 26, signal = 9}
# bollinger = {period = 20, width = 2.0}
# atr = {period = 14}

[baseline]                   # what volume is usual
# sessions = 20
# min_sessions = 5

[anomalies]
# budget_per_day = 0          # about so many price and volume anomalies a day: each series' own limits by half hour

[pairs]
# universe = "same-source"   # or "all", or [["binance:BTCUSDT", "binance:ETHUSDT"]]
# interval = "1m"
# lookback = 600             # bars
# window = 20                # bars of the rolling z-score and correlation
# fdr = 0.05                 # false discoveries allowed among the pairs found
# correction = "bh"          # for all pairs tested: Benjamini-Hochberg; "by": stricter, whatever the pairs share
# lags = "aic:2"             # of the unit-root regressions: aic, bic, with a largest (aic:2), or a number
# refit = "15m"

[retention]                  # days; imported history is kept
# trades_days = 7
# bars_days = 365
# landing_days = 7
# quarantine_days = 90
# quality_days = 90
# runs_days = 90
# snapshots_days = 7

[digest]
# every = "1h"
# channels = []              # empty: all that take digests

# [[rule]]                   # beside the built-in ones
# name = "btc-volume"
# when = "volume_ratio > 3"
# on = ["binance:BTC*"]
# interval = "5m"
# severity = "high"          # critical, high, medium, info
# for = 2                    # closed bars in a row
# clear = "volume_ratio < 2"
# expires = "never"

# [[channel]]                # beside `file`, which is always on
# name = "ops"
# kind = "slack"             # email, slack, discord, telegram, teams, webhook, apprise
# url = "env:SLACK_WEBHOOK_URL"
# min_severity = "high"
# cooldown = "5m"
# repeat = "4h"              # while it still fires

# [[channel]]
# name = "mail"
# kind = "email"
# host = "smtp.example.com"
# port = 587
# tls = "starttls"           # starttls, ssl (port 465), none
# user = "tapewatch"         # leave out where the server wants no login
# password = "env:SMTP_PASSWORD"
# from = "tapewatch@example.com"
# to = ["me@example.com"]

# [[channel]]
# name = "hook"
# kind = "webhook"
# url = "https://example.com/hook"
# secret = "env:HOOK_SECRET" # signs what is sent, by Standard Webhooks; without it nothing is signed

# [[channel]]
# name = "phone"
# kind = "telegram"
# token = "env:TELEGRAM_TOKEN"
# chat_id = "123456"

# [[session]]                # a day the exchange's calendar does not know yet
# calendar = "XNYS"
# date = 2027-01-08
# closed = true
"""
