"""The one kind of error that the command line shows."""


class Problem(Exception):
    """Something that the user can put right; its text is one line that says what is wrong and what to do."""
