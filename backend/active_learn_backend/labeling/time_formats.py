"""Times of a time series as its labeling config writes them: by a format of D3.

Label Studio's page reads and writes such times in the zone of the browser. They mean one and the
same moment of the series as long as nobody leaves that zone, so none is assumed here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["LATEST", "TimeFormat"]

LATEST = 2.5e14  # milliseconds from 1970 on or before it, of a time that is read: year 9892
EPOCH = datetime(1970, 1, 1)  # of the zone of the reader, see above
DIRECTIVE = re.compile(r"%[-_0]?(.)")
NUMBERS = {"%Q": 1.0, "%s": 1000.0}  # milliseconds of one
LONG = {"c": "%x, %X", "x": "%-m/%-d/%Y", "X": "%-I:%M:%S %p"}
# Directives of D3 by those of Python; Label Studio takes microseconds for milliseconds.
READ = {**{one: f"%{one}" for one in "aAbBdHIjmMpSUwWyY%"}, "e": "%d", "L": "%f", "f": "%f"}
READ["Z"] = "%z"


class TimeFormat:
    """Reads and writes times as milliseconds from 1970 on.

    Parameters
    ----------
    text : str
        The format, such as ``%Y-%m-%d %H:%M:%S``.

    Raises
    ------
    ValueError
        When it has a directive that is not read.
    """

    def __init__(self, text: str) -> None:
        for name, written in LONG.items():
            text = text.replace(f"%{name}", written)
        self._text, self._unit = text, NUMBERS.get(text.strip())
        if self._unit is None:
            for found in DIRECTIVE.finditer(text):
                if found[1] not in READ:
                    raise ValueError(f"'{found[0]}' is not read")
            self._read = DIRECTIVE.sub(lambda found: READ[found[1]], text)
            try:
                self.parse(self.write(0.0))
            except re.error:
                raise ValueError("a directive is there twice") from None

    def parse(self, text: str) -> float:
        """Return a time.

        Raises
        ------
        ValueError
            When it is not written by the format.
        """
        if self._unit is not None:
            found = float(text) * self._unit
        else:
            moment = datetime.strptime(text.strip(), self._read)  # see above
            if moment.tzinfo is not None:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
            found = float((moment - EPOCH) // timedelta(milliseconds=1))
        if not abs(found) < LATEST:
            raise ValueError(f"'{text[:40]}' is no time that is read")
        return found

    def write(self, time: float) -> str:
        """Return a time as it is written."""
        if self._unit is not None:
            return f"{time / self._unit:.15g}"
        whole = int(time // 1)
        moment = EPOCH + timedelta(milliseconds=whole)
        own = {
            "L": f"{whole % 1000:03d}",
            "f": f"{whole % 1000:03d}000",
            "e": f"{moment.day:2d}",
            "Z": "+0000",
        }
        return DIRECTIVE.sub(
            lambda found: own.get(found[1]) or moment.strftime(found[0]), self._text
        )
