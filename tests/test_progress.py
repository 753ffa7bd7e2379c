"""What long work says, and how it is asked to stop."""

from __future__ import annotations

from nearsight.progress import Event, StopToken, labelled, silent


def test_labels_are_around_messages_only():
    said: list[Event] = []
    progress = labelled(said.append, "CP2K: ", " (try 2)")
    progress(Event("SCF step 3", 3, 10, {"energy": -1.0}))
    progress(Event("", 4, 10))
    assert said == [Event("CP2K: SCF step 3 (try 2)", 3, 10, {"energy": -1.0}), Event("", 4, 10)]
    silent(said[0])


def test_the_first_reason_to_stop_counts():
    token = StopToken()
    assert not token.stopped
    token.stop("time is over")
    token.stop("later")
    assert token.stopped
    assert token.reason == "time is over"
