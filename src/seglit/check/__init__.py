"""The check: a configuration that would not do what it says does not start.

Every node is compared with the signature that it names, and rules that span several keys are applied, before anything
is built or any data is read.
"""

from seglit.check.configuration import check

__all__ = ["check"]
