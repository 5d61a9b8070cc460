"""The options: one table, and all that is made of it.

- ``values``         what an option's text may be
- ``addresses``      the same for hosts, ports and paths
- ``layernames``     the same for what selects an installed layer
- ``table``          the one table: names, kinds, defaults, help; the modes
- ``settings``       the values of one command, checked: what the stack is built from
- ``configuration``  from the file, the command line and the environment to settings
- ``jsonfile``       kcptun's JSON file
- ``spelling``       Go's spelling and ours as one
- ``commandline``    Twisted's usage.Options of ``kcptun client`` and ``kcptun server``
- ``helptext``       what ``--help`` prints
- ``explanation``    what ``--explain`` prints
"""

from kcpstack.options.addresses import Address, RelayTarget, Target, UnixAddress
from kcpstack.options.commandline import ClientOptions, Options, ServerOptions
from kcpstack.options.configuration import Configuration, restartless
from kcpstack.options.helptext import valueText
from kcpstack.options.settings import ClientSettings, ServerSettings, Settings
from kcpstack.options.table import BY_VALUES, MODES, TABLE, Mode, Option, dashed, optionsOf

__all__ = [
    "Address",
    "BY_VALUES",
    "ClientOptions",
    "ClientSettings",
    "Configuration",
    "MODES",
    "Mode",
    "Option",
    "Options",
    "RelayTarget",
    "ServerOptions",
    "ServerSettings",
    "Settings",
    "TABLE",
    "Target",
    "UnixAddress",
    "dashed",
    "optionsOf",
    "restartless",
    "valueText",
]
