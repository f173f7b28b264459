"""What can be chosen about a simulated TradingView."""

from dataclasses import dataclass

ANONYMOUS_TOKEN = "unauthorized_user_token"  # noqa: S105  (the word every anonymous client sends)
PAID_TOKEN = "simulated_paid_token"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    heartbeat_s: float = 10.0
    echo_timeout_s: float = 25.0  # closed when no echo came for so long
    check_origin: bool = True  # 403 for an Origin outside tradingview.com
    batching: bool = True  # off: each frame in a websocket message of its own
    anonymous_page: int = 5000  # intraday bars in one answer
    anonymous_depth: int = 40_000  # intraday bars in all; beyond it `data_completed` says "limit"
    paid_page: int = 20_000
    paid_depth: int = 10_000_000
    paid_tokens: frozenset[str] = frozenset({PAID_TOKEN})
    answer_delay_s: float = 0.0
    resolve_pause_s: float = 0.03  # a series asked for within it is announced before its symbol is resolved
    refuse_flags: bool = False  # `force_permission` flags end the quote session, as some were told
    max_connections: int = 0  # more are answered 429; 0 = no limit
    max_sessions: int = 250  # living ones on a connection
    max_pending_chars: int = 64 * 2**20  # a client that lets more pile up is cut off
