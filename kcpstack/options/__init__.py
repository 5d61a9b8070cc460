"""The options: one table, and all that is made of it.

- ``values``       what an option's text may be
- ``table``        the one table: names, kinds, defaults, help; the modes
- ``settings``     the values of one command, checked: what the stack is built from
- ``spelling``     Go's spelling and ours as one
- ``commandline``  Twisted's usage.Options of ``kcptun client`` and ``kcptun server``
- ``helptext``     what ``--help`` prints
"""

from kcpstack.options.commandline import ClientOptions, Options, ServerOptions
from kcpstack.options.settings import ClientSettings, ServerSettings, Settings, settingsFrom
from kcpstack.options.table import BY_VALUES, MODES, NOT_YET, TABLE, Mode, Option, optionsOf
from kcpstack.options.values import Address, Target, UnixAddress

__all__ = [
    "Address",
    "BY_VALUES",
    "ClientOptions",
    "ClientSettings",
    "MODES",
    "Mode",
    "NOT_YET",
    "Option",
    "Options",
    "ServerOptions",
    "ServerSettings",
    "Settings",
    "TABLE",
    "Target",
    "UnixAddress",
    "optionsOf",
    "settingsFrom",
]
