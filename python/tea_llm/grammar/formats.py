"""JSON Schema's string formats as regular expressions, which match only valid texts but not all of them."""

from __future__ import annotations

__all__ = ["FORMATS", "UNCHECKED_FORMATS"]

_DATE = r"[1-9]\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,4}}\.[A-Za-z]{{2,10}}"
_PATH = r"(/[\w.~-]{1,40}){0,10}/?(\?[\w.~=&-]{1,100})?(#[\w.~-]{1,40})?"
_URI = rf"https?://{_HOST}(:[1-9]\d{{1,3}})?{_PATH}"
_HEX = "[0-9a-fA-F]"

FORMATS = {
    name: f"^{pattern}$"
    for name, pattern in {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}T{_TIME}",
        "duration": r"P(\d{1,4}D(T\d{1,2}H(\d{1,2}M)?)?|T\d{1,4}[HMS])",
        "email": rf"[A-Za-z0-9]+([.+-][A-Za-z0-9]+){{0,3}}@{_HOST}",
        "hostname": _HOST,
        "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
        "ipv6": rf"{_HEX}{{1,4}}(:{_HEX}{{1,4}}){{7}}",
        "uri": _URI,
        "uuid": rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    }.items()
}
UNCHECKED_FORMATS = frozenset(("binary", "password", "path", "file-path", "directory-path"))
"""Formats of OpenAPI and pydantic that allow any string."""
