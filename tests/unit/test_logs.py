"""Logs: lines of a kind are written sparingly, so that nobody can fill the disk with what is said of them."""

import logging

from producers.logs import KINDS, LINES, Sparing


def line(event: str, **fields: object) -> logging.LogRecord:
    return logging.LogRecord("api", logging.WARNING, "", 0, {"event": event, **fields}, None, None)


def test_a_kind_of_line_is_written_so_often_a_minute_and_what_is_left_out_is_counted():
    now = [0.0]
    sparing = Sparing(lambda: now[0])

    written = [sparing.filter(line("frame refused", player_id=i)) for i in range(1000)]
    other = sparing.filter(line("started"))
    now[0] = 60.0
    next_minute = line("frame refused")

    assert written == [True] * LINES + [False] * (1000 - LINES)
    assert other
    assert sparing.filter(next_minute)
    assert next_minute.msg["left_out"] == 1000 - LINES  # type: ignore[index]


def test_a_librarys_lines_are_counted_before_they_are_formatted():
    sparing = Sparing(lambda: 0.0)
    records = [logging.LogRecord("uvicorn", logging.WARNING, "", 0, "%s came", (i,), None) for i in range(LINES + 5)]
    assert sum(map(sparing.filter, records)) == LINES


def test_kinds_are_not_remembered_without_bound():
    sparing = Sparing(lambda: 0.0)
    for i in range(5 * KINDS):
        sparing.filter(line(f"kind {i}"))
    assert len(sparing._kinds) <= KINDS


def test_a_flood_of_other_kinds_lets_a_kind_that_was_written_enough_not_begin_anew():
    sparing = Sparing(lambda: 0.0)
    written = sum(sparing.filter(line("frame refused")) for _ in range(LINES))
    for i in range(5 * KINDS):
        sparing.filter(line(f"kind {i}"))
        written += i % (KINDS // 2) == 0 and sparing.filter(line("frame refused"))
    assert written == LINES
