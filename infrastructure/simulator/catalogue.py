"""The instruments of the simulated exchange: one of each kind that a platform has to cope with. Pure data."""

from dataclasses import replace
from typing import Any

from infrastructure.simulator.instrument import Instrument

_COIN = Instrument(
    name="", description="", type="spot", typespecs=("crypto",), currency="USD", country="", timezone="Etc/UTC",
    session="24x7", price=1, pricescale=100, sigma=0.00045, volume=1, first="20180101", volume_scale=100_000,
    base_currency="XTVCBTC",
)  # fmt: skip
_US_SHARE = Instrument(
    name="", description="", type="stock", typespecs=("common",), currency="USD", country="US",
    timezone="America/New_York", session="0930-1600", price=1, pricescale=100, sigma=0.0003, volume=1, first="20050103",
    ticks=50, calendar="US", early_close="0930-1300", extended=True, venue_name="Cboe One",
    sector="Electronic Technology", shares=5e9,
)  # fmt: skip


def _coin(name: str, description: str, price: float, volume: float, **more: Any) -> Instrument:
    return replace(_COIN, name=name, description=description, price=price, volume=volume, **more)


def _us_share(name: str, description: str, price: float, volume: float, **more: Any) -> Instrument:
    """Anonymous clients see its prices from another venue, as with the real thing."""
    venue = f"BATS:{name.partition(':')[2]}"
    return replace(_US_SHARE, name=name, description=description, price=price, volume=volume, venue=venue, **more)


CATALOGUE: tuple[Instrument, ...] = (
    _coin("BINANCE:BTCUSDT", "Bitcoin / TetherUS", 64000, 12, path="BTC", currency="USDT"),
    _coin("BINANCE:ETHUSDT", "Ethereum / TetherUS", 3100, 190, currency="USDT", base_currency="XTVCETH"),
    _coin("BINANCE:SOLUSDT", "SOL / TetherUS", 150, 1900, currency="USDT", base_currency="XTVCSOL", volume_scale=1000),
    _coin("BINANCE:XRPUSDT", "XRP / TetherUS", 0.62, 160_000, currency="USDT", base_currency="XTVCXRP",
          pricescale=10_000, volume_scale=10),
    _coin("BINANCE:DOGEUSDT", "Dogecoin / TetherUS", 0.14, 900_000, currency="USDT", base_currency="XTVCDOGE",
          pricescale=100_000, volume_scale=1),
    _coin("COINBASE:BTCUSD", "Bitcoin / U.S. Dollar", 64000, 6, path="BTC", volume_scale=10**8),
    _coin("BITSTAMP:BTCUSD", "Bitcoin / U.S. dollar", 64000, 1.2, path="BTC", volume_scale=10**8, pricescale=1,
          first="20120102"),
    _coin("KRAKEN:ADAUSD", "Cardano / U.S. Dollar", 0.45, 9000, base_currency="XTVCADA", pricescale=10**6, ticks=30),
    _coin("TEST:TICK", "Trades without a pause", 1000, 50, ticks=300, first="20200101"),
    _coin("TEST:RARE", "Trades in one minute of four", 20, 0.4, ticks=5, density=0.25, first="20220101"),
    _coin("TEST:UTF16", "A name beyond the basic plane", 5, 70, pricescale=1000, first="20220101",
          local_description="𠮷野家 🍚", language="ja"),
    _coin("TEST:DENIED", "Needs a permission that nobody has", 10, 5, permission="simulated_paid_data"),
    _us_share("NASDAQ:AAPL", "Apple Inc.", 230, 110_000, isin="US0378331005", shares=14.7e9),
    _us_share("NASDAQ:MSFT", "Microsoft Corporation", 420, 50_000, isin="US5949181045", shares=7.4e9),
    _us_share("NASDAQ:META", "Meta Platforms, Inc.", 560, 35_000, aliases=("NASDAQ:FB",), isin="US30303M1027"),
    _us_share("NASDAQ:NEWCO", "Newly Listed Co.", 24, 9000, first="20261026", isin="US0000000001", shares=9e7),
    _us_share("NYSE:KO", "The Coca-Cola Company", 69, 30_000, isin="US1912161007", sector="Consumer Non-Durables"),
    Instrument(
        name="NSE:RELIANCE", description="RELIANCE INDS", type="stock", typespecs=("common",), currency="INR",
        country="IN", timezone="Asia/Kolkata", session="0915-1530", price=1450, pricescale=100, minmov=5, sigma=0.0003,
        volume=24_000, first="20100104", calendar="IN", ticks=40, isin="INE002A01018", sector="Energy Minerals",
        shares=13.5e9,
    ),
    Instrument(
        name="LSE:VOD", description="VODAFONE GROUP PLC ORD USD0.20 20/21", type="stock", typespecs=("common",),
        currency="GBX", country="GB", timezone="Europe/London", session="0800-1630", price=72, pricescale=100, minmov=2,
        sigma=0.00035, volume=110_000, first="20080102", calendar="GB", ticks=30, delay_s=900, isin="GB00BH4HKS39",
        venue="LSE_DLY:VOD", venue_name="LSE", sector="Communications", shares=25e9,
    ),
    Instrument(
        name="SP:SPX", description="S&P 500", type="index", typespecs=("main", "cfd"), currency="USD", country="US",
        timezone="America/New_York", session="0930-1610", price=5900, pricescale=100, sigma=0.0002, volume=5_000_000,
        first="20050103", calendar="US", early_close="0930-1310", ticks=60, aliases=("SPCFD:SPX", "SP_DLY:SPX"),
    ),
    Instrument(
        name="TVC:RUT", description="RUSSELL 2000", type="index", typespecs=("cfd",), currency="USD", country="US",
        timezone="America/New_York", session="0930-1615", price=2200, pricescale=10_000, sigma=0.00025, volume=1,
        first="20080102", calendar="US", ticks=60, has_volume=False, quotes_volume=False,
    ),
    Instrument(
        name="NASDAQ:NDX", description="NASDAQ 100", type="index", typespecs=("main",), currency="USD", country="US",
        timezone="America/New_York", session="0930-1600", price=20_500, pricescale=100, sigma=0.00025, volume=1,
        first="20080102", calendar="US", early_close="0930-1300", ticks=60, has_volume=False, quotes_volume=False,
        delay_s=900, venue="NASDAQ_DLY:NDX",
    ),
    Instrument(
        name="CME_MINI:ES1!", description="S&P 500 E-mini Futures", type="futures", currency="USD",
        typespecs=("continuous", "synthetic"), country="US", timezone="America/Chicago", session="1700-1600",
        price=5900, pricescale=100, minmov=25, sigma=0.00018, volume=900, first="20100104", calendar="CME",
        venue_name="CME",
    ),
    Instrument(
        name="FX:EURUSD", description="Euro / U.S. Dollar", type="forex", typespecs=(), currency="USD", country="",
        timezone="America/New_York", session="1700-1700", price=1.085, pricescale=100_000, sigma=0.00006, volume=180,
        first="20080102", ticks=90, venue_name="FXCM", base_currency="EUR",
    ),
    Instrument(
        name="KRX:005930", description="Samsung Electronics Co., Ltd.", type="stock", typespecs=("common",),
        currency="KRW", country="KR", timezone="Asia/Seoul", session="0900-1530", price=71_000, pricescale=1,
        minmov=100, sigma=0.0003, volume=38_000, first="20080102", calendar="KR", local_description="삼성전자",
        language="ko", isin="KR7005930003", sector="Electronic Technology", shares=5.97e9,
    ),
    Instrument(
        name="HKEX:700", description="TENCENT HOLDINGS LIMITED", type="stock", typespecs=("common",), currency="HKD",
        country="HK", timezone="Asia/Hong_Kong", session="0930-1200,1300-1600", price=410, pricescale=10, minmov=2,
        sigma=0.0003, volume=60_000, first="20080102", calendar="HK", local_description="騰訊控股", language="zh_TW",
        isin="KYG875721634", sector="Technology Services", shares=9.3e9,
    ),
    Instrument(
        name="TEST:DAILY", description="Daily bars only", type="economic", typespecs=(), currency="USD", country="US",
        timezone="Etc/UTC", session="24x7", price=300, pricescale=10, sigma=0.00001, volume=1, first="20200101",
        has_intraday=False, has_volume=False, quotes_volume=False,
    ),
)  # fmt: skip


def synthetic(count: int) -> tuple[Instrument, ...]:
    """Any number of instruments that trade around the clock, for benchmarks: TEST:SYM0001, TEST:SYM0002, …"""
    return tuple(_coin(f"TEST:SYM{n:04}", f"Synthetic instrument {n}", 10 + n % 990, 20) for n in range(1, count + 1))
