"""`~m~<length>~m~<payload>`, any number of times in one websocket text: split and made here. Pure; used by `session`.

The length counts UTF-16 code units, as JavaScript's `String.length` does: a character beyond U+FFFF counts two
(section 2 of the protocol). The length is obeyed; a payload may hold the separator itself.
"""

from infrastructure.errors import Malformed

MARK = "~m~"
HEARTBEAT = "~h~"
#: More digits than any real frame needs; keeps a text of digits from becoming a huge number.
MAX_DIGITS = 9


def decode(text: str) -> list[str]:
    """The payloads of one websocket text, in order. Malformed, with a sample from where it breaks, if the text lies."""
    if text.isascii() or 2 * len(text) == len(_utf16(text)):
        return _split(text)
    # One character per code unit, so that lengths are indexes; what comes out is put together again.
    units = "".join(map(chr, memoryview(_utf16(text)).cast("H")))
    try:
        return [_joined(payload) for payload in _split(units)]
    except Malformed as error:
        raise Malformed(str(error), _joined(error.sample)) from None


def encode(payload: str) -> str:
    return f"{MARK}{len(_utf16(payload)) // 2}{MARK}{payload}"


def _utf16(text: str) -> bytes:
    """In the machine's own byte order, without its mark; a surrogate that stands alone stays what it is."""
    return text.encode("utf-16", "surrogatepass")[2:]


def _joined(units: str) -> str:
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _split(text: str) -> list[str]:
    payloads = []
    start, end = 0, len(text)
    while start < end:
        mark = text.find(MARK, start + 3, start + 7 + MAX_DIGITS)
        digits = text[start + 3 : mark]
        if mark < 0 or not text.startswith(MARK, start) or not (digits.isascii() and digits.isdecimal()):
            raise Malformed("TradingView sent a text without a frame's head where one must be.", text[start:])
        head = mark + 3
        stop = head + int(digits)
        if stop > end:
            raise Malformed("TradingView sent a frame that is shorter than it says.", text[start:])
        payloads.append(text[head:stop])
        start = stop
    return payloads
