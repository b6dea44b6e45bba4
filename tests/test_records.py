"""Values that are kept: what must never be seen in a log line when one of them is shown."""

from __future__ import annotations

from rawstream.records import Account, Channel, ChannelSource, ListSource

SECRET = "hunter2-secret"


def test_what_holds_a_secret_does_not_show_it() -> None:
    source = ChannelSource("direct", f"http://{SECRET}@h/", headers=(("Cookie", SECRET),))
    shown = [
        repr(source),
        repr(Channel(1, "One", sources=(source,))),
        repr(Account(1, "ana", SECRET, token=SECRET)),
        repr(ListSource(1, "playlist", f"http://h/?password={SECRET}")),
    ]
    assert not [text for text in shown if SECRET in text]
