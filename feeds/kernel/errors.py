"""Every error we raise on purpose, as one tree.

Each message is one sentence that says what is wrong and what to do; the command line prints it as
it is. Nothing here logs or exits. Raised by every room, caught by the entrances in ``api``.

MycityError
├── UsageError          the caller asked for something that does not exist or does not fit
├── NotFoundError       nothing under that id
├── ConflictError       somebody else was faster; read again and retry
├── BadInputError       a file, feed or form that cannot be read as what it claims to be
├── FetchError          an address did not answer as it should (may be tried again)
│   ├── BlockedAddressError   an address we must not call (never tried again)
│   ├── HttpStatusError       it answered with another status than hoped for (feeds.kernel.answers)
│   └── HostBusyError         our own queue for the host was too long; nobody was asked (feeds.kernel.hosts)
└── StorageError        the database or the disk refused
"""

from __future__ import annotations


class MycityError(Exception):
    """Root of every error that we raise on purpose."""


class UsageError(MycityError):
    """The caller asked for something that does not exist or does not fit."""


class NotFoundError(MycityError):
    """Nothing is stored under that id."""


class ConflictError(MycityError):
    """Somebody else changed the row first; read it again and retry."""


class BadInputError(MycityError):
    """A file, feed or form cannot be read as what it claims to be."""


class FetchError(MycityError):
    """An address did not answer as it should; a later attempt may succeed."""


class BlockedAddressError(FetchError):
    """An address that must not be called: a private network, an odd port or scheme."""


class StorageError(MycityError):
    """The database or the disk refused to take what we gave it."""
