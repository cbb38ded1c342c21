"""Fails a run that left tests out: skipped, deselected, expected to fail, or no longer there. `make test` asks for it."""

import pytest


class AllMustRun:
    """Fails a run in which a test was left out, since nobody knows whether it passes."""

    def __init__(self, fewest: int) -> None:
        """Demand at least ``fewest`` tests."""
        self._fewest = fewest
        self.left_out: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note that tests are gone."""
        if len(items) < self._fewest:
            self.left_out.append(f"{len(items)} tests are here, and there were {self._fewest}")

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note tests that were taken out of the run, by an option or by a conftest.py."""
        self.left_out += [f"{item.nodeid}: deselected" for item in items]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that was skipped as a whole."""
        if report.skipped:
            self._note(report.nodeid, report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was skipped, or that may fail."""
        if report.skipped or hasattr(report, "wasxfail"):
            self._note(report.nodeid, report)

    def _note(self, nodeid: str, report: pytest.CollectReport | pytest.TestReport) -> None:
        why = (
            report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "") or "expected to fail"
        )
        self.left_out.append(f"{nodeid}: {why}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if anything was left out."""
        if self.left_out and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was left out, and why."""
        if self.left_out:
            terminalreporter.section("left out, and all must run", red=True)
            for line in self.left_out:
                terminalreporter.line(line)
