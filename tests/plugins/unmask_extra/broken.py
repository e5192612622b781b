"""A package that an update of another one has broken."""

import a_library_that_is_not_installed  # noqa: F401
