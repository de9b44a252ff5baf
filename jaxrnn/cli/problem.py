"""Defines the only kinds of errors that the command line shows."""


class Problem(Exception):
    """A problem that the user can fix; its text is one line that says what is wrong and what to do."""


class Common(Problem):
    """A problem that every process of a run finds at the same place: each says so before any of them leaves."""
