"""What can go wrong, as one tree. Every message says what was received and what to do.

    TactfulError
    ├── ConfigError           a recipe or option is wrong (all faults at once)
    ├── DataError             a file or row cannot be used
    ├── ModelsMissingError    weights are not on this machine; says how to get them
    ├── CorruptFileError      a file is there but is not what it should be; names it
    ├── UnreachableError      a server does not answer; no text is to blame
    ├── NotFittedError        a screener was asked before it learned
    ├── InterruptedRunError   a run was asked to stop and did; says how it goes on
    └── MissingExtraError     an optional dependency is not installed; gives the pip line

The command line prints the message alone and exits with 1, an interrupted run with 130. Anything else that escapes is a bug.
"""


class TactfulError(Exception):
    """Base of every error meant for a user to read."""


class ConfigError(TactfulError):
    """A recipe, option or argument is not acceptable."""


class DataError(TactfulError):
    """A file, column or row cannot be used."""


class ModelsMissingError(TactfulError):
    """Model weights are not on this machine, and nothing is downloaded behind the user's back."""


class CorruptFileError(TactfulError):
    """A file exists but its content is not what was recorded for it."""


class UnreachableError(TactfulError):
    """A server that is asked does not answer, or not us: waiting or another key may help."""


class NotFittedError(TactfulError):
    """A model was used before it had learned anything."""


class InterruptedRunError(TactfulError):
    """A run stopped because it was asked to, and left a checkpoint."""


class MissingExtraError(TactfulError):
    """A feature needs an optional dependency."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an extra: pip install "tactful[{extra}]"')
