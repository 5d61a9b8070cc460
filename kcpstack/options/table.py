"""The one table of options: names, kinds, defaults and help, for both commands.

Names, short forms and defaults are kcptun's; where we differ, ``Option.difference`` says why.
``MODES`` is the one list of retransmission modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kcpstack.ciphers import CIPHERS
from kcpstack.kernels.qpp import PADS_MAX
from kcpstack.options.addresses import DialAddress, ListenAddress, TargetAddress
from kcpstack.options.layernames import LayerName
from kcpstack.options.values import Choice, Kind, Refused, Text, WholeNumber, YesOrNo
from kcpstack.seams import BY_MODE, COMPRESSORS, CONGESTION_CONTROLS, ERASURE_CODES, TRANSPORTS

__all__ = [
    "BOTH",
    "BY_VALUES",
    "CLIENT",
    "MODES",
    "Mode",
    "NEW_SESSIONS",
    "NOW",
    "Option",
    "RESTART",
    "SERVER",
    "SHARDS_MAX",
    "TABLE",
    "dashed",
    "optionsOf",
]

CLIENT = "client"
SERVER = "server"
BOTH = (CLIENT, SERVER)


class Mode(NamedTuple):
    """How eagerly KCP sends again; see docs/kcp.rst for what each does."""

    nodelay: int  # 1: lower minimum RTO, slower growth of it
    interval: int  # milliseconds between flushes
    resend: int  # later acks that skip a segment before it is sent again; 0 for never
    nc: int  # 1: no congestion window


MODES: dict[str, Mode] = {
    "normal": Mode(0, 40, 2, 1),
    "fast": Mode(0, 30, 2, 1),
    "fast2": Mode(1, 20, 2, 1),
    "fast3": Mode(1, 10, 2, 1),
}
BY_VALUES = ("manual", "default")  # modes that take --nodelay --interval --resend --nc as given


# When a change of an option takes effect after SIGHUP.
NOW = "at once"
NEW_SESSIONS = "with new sessions"
RESTART = "after a restart"
PORTS = {CLIENT: NEW_SESSIONS, SERVER: RESTART}  # a server's socket stays; a client's has each session a new one


def _modeNames() -> Sequence[str]:
    return (*MODES, *BY_VALUES)


class Option(NamedTuple):
    """One row of the table."""

    name: str
    kind: Kind
    default: Any  # the value, or for an address its text; a dict where the commands differ
    help: str
    group: str
    roles: Sequence[str] = BOTH
    short: str = ""
    aliases: Sequence[str] = ()
    metavar: str = "N"  # empty for a switch
    environment: str = ""  # the variable that sets it where the command line does not
    difference: str = ""  # where and why we differ from kcptun
    otherKey: str = ""  # in kcptun's JSON file, where it is not the name
    reload: Any = NEW_SESSIONS  # when a change by SIGHUP takes effect; a dict where the commands differ
    setting: bool = True  # False: about the command line itself; no value of the settings
    kcptun: bool = True  # False: an option of our own
    secret: bool = False  # its value is never shown

    @property
    def jsonKey(self) -> str:
        """Its key in kcptun's JSON file; empty where it can stand on the command line only."""
        return (self.otherKey or self.name) if self.setting or self.name == "tcp" else ""

    def reloadFor(self, role: str) -> str:
        """When a change takes effect in one command: NOW, NEW_SESSIONS or RESTART."""
        return str(self.reload[role] if isinstance(self.reload, dict) else self.reload)

    def defaultFor(self, role: str) -> Any:
        """The default of one command, as a value."""
        default = self.default[role] if isinstance(self.default, dict) else self.default
        return self.kind.parse(default) if isinstance(default, str) else default


# Bounds.  The wire's come from protocol.md; the others keep a mistake from being taken for a wish.
MTU_MIN = 100  # headers take up to 60 bytes (GCM 28, FEC 8, KCP 24): this leaves 40
MTU_MAX = 1500  # kcp-go's largest packet: a Go peer reads no more
WINDOW_MAX = 65535  # KCP's window is 16 bits on the wire
SHARDS_MAX = 256  # shards of a group are points of GF(2^8)
INTERVAL_MIN, INTERVAL_MAX = 10, 5000  # what Go's peers hold theirs to, in silence
RESEND_MAX = 65535  # as many as can be in flight
FRAME_MAX = 65535  # smux's length is 16 bits
BUFFER_MAX = 2**31 - 1  # smux's windows and setsockopt are ints of 32 bits
SOCKBUF_MIN = 4096  # about what Linux raises a smaller one to
STREAMBUF_MIN = 4096  # below it a stream would be all window updates
SECONDS_MAX = 31_536_000  # a year
CLOSEWAIT_MAX = 86_400  # a day; whoever stops a process wants an end
CONN_MAX = 65535  # kcptun counts them in 16 bits
WORKERS_MAX = 128  # cores of a large machine; each worker takes some 40 MB and its sockets' buffers
KEEPALIVE_MAX = 29  # smux ends a session that is silent for 30 seconds

CONFIGURATION = "Configuration"
ADDRESSES = "Addresses"
SECRECY = "Secrecy"
SESSIONS = "Sessions"
SENDING = "Sending and sending again"
FEC = "Forward error correction"
STREAMS = "Streams"
PROCESSES = "Processes"
MESSAGES = "Messages"

TABLE: tuple[Option, ...] = (
    Option(
        "c", Text(), "", "read options from this JSON file, whose values override the command line",
        CONFIGURATION, metavar="FILE", setting=False,
        difference="A key that is no option, and each value that overrides one given otherwise, is said in the "
        "log. SIGHUP reads the file again.",
    ),
    Option(
        "explain", YesOrNo(), False, "print every option's value and where it comes from, and exit",
        CONFIGURATION, metavar="", setting=False, kcptun=False,
    ),
    Option(
        "localaddr", ListenAddress(paths=True), ":12948",
        "TCP address to listen on for applications, or the path of a Unix socket",
        ADDRESSES, (CLIENT,), "l", metavar="HOST:PORT", reload=RESTART,
        difference="A path has a slash in it, or unix: in front.",
    ),
    Option(
        "remoteaddr", DialAddress(ranges=True), "vps:29900",
        "UDP address of the server; with a range of ports (host:3000-3010) each session picks one",
        ADDRESSES, (CLIENT,), "r", metavar="HOST:PORT",
        difference="A port that has just failed is not picked again while there are others.",
    ),
    Option(
        "listen", ListenAddress(ranges=True), ":29900",
        "UDP address to listen on for clients; with a range (host:3000-3010) on all its ports",
        ADDRESSES, (SERVER,), "l", metavar="HOST:PORT", reload=RESTART,
        difference="A session may move from one port of a range to another.",
    ),
    Option(
        "target", TargetAddress(), "127.0.0.1:12948",
        "where streams go: a TCP address, the path of a Unix socket, or @ and the name of a relay target",
        ADDRESSES, (SERVER,), "t", metavar="HOST:PORT",
        difference="A path has a slash in it, or unix: in front. @NAME is an installed relay target.",
    ),
    Option(
        "key", Text(), "it's a secrect", "secret shared by both ends; set your own",
        SECRECY, metavar="TEXT", environment="KCPTUN_KEY", reload=PORTS, secret=True,
        difference="An empty one is refused.",
    ),
    Option(
        "crypt", LayerName(CIPHERS), "aes", "cipher, the same on both ends",
        SECRECY, metavar="NAME", reload=PORTS,
        difference="An unknown name is refused; kcptun takes it as aes without a word.",
    ),
    Option(
        "QPP", YesOrNo(), False, "permute what streams carry once more (Quantum Permutation Pad)",
        SECRECY, metavar="", otherKey="qpp", reload=PORTS,
        difference="Speaks with kcptun from 22 December 2025 on; earlier ones differ. docs/qpp.rst says what it is "
        "worth.",
    ),
    Option(
        "QPPCount", WholeNumber(1, PADS_MAX, "pads"), 61, "pads of --QPP, a prime number",
        SECRECY, otherKey="qpp-count", reload=PORTS,
    ),
    Option(
        "conn", WholeNumber(1, CONN_MAX), 1, "sessions to the server; streams are dealt over them",
        SESSIONS, (CLIENT,),
        difference="A stream never goes to a session that is silent while another is not.",
    ),
    Option(
        "autoexpire", WholeNumber(0, SECONDS_MAX, "seconds"), 0,
        "age at which a session is replaced by a new one, 0 for never",
        SESSIONS, (CLIENT,),
        difference="The new session is dialled before it is needed; kcptun waits for the next stream.",
    ),
    Option(
        "scavengettl", WholeNumber(-1, SECONDS_MAX, "seconds"), 600,
        "time an expired session has to end its streams before they are cut, -1 for no limit",
        SESSIONS, (CLIENT,),
        difference="The log says how many streams were cut.",
    ),
    Option(
        "mode", Choice(_modeNames), "fast",
        "how eagerly to send again; manual (or default) goes by the next four",
        SENDING, metavar="NAME",
        difference="An unknown name is refused; kcptun takes it as manual.",
    ),
    Option(
        "nodelay", WholeNumber(0, 1), 0, "1 sends again sooner after a timeout; only in mode manual",
        SENDING,
    ),
    Option(
        "interval", WholeNumber(INTERVAL_MIN, INTERVAL_MAX, "ms"), 50,
        "time between flushes; only in mode manual",
        SENDING,
        difference="A value out of range is refused; kcptun takes the nearest.",
    ),
    Option(
        "resend", WholeNumber(0, RESEND_MAX, "acks"), 0,
        "send again what this many later acks have skipped, 0 for never; only in mode manual",
        SENDING,
    ),
    Option(
        "nc", WholeNumber(0, 1), 0, "1 switches the congestion window off; only in mode manual",
        SENDING,
    ),
    Option(
        "mtu", WholeNumber(MTU_MIN, MTU_MAX, "bytes"), 1350, "largest UDP payload to send",
        SENDING, reload=PORTS,
    ),
    Option(
        "sndwnd", WholeNumber(1, WINDOW_MAX, "packets"), {CLIENT: 128, SERVER: 1024}, "send window",
        SENDING,
    ),
    Option(
        "rcvwnd", WholeNumber(1, WINDOW_MAX, "packets"), {CLIENT: 512, SERVER: 1024}, "receive window",
        SENDING,
    ),
    Option(
        "acknodelay", YesOrNo(), False, "send each ack at once rather than at the next flush",
        SENDING, metavar="",
    ),
    Option(
        "sockbuf", WholeNumber(SOCKBUF_MIN, BUFFER_MAX, "bytes"), 4194304,
        "buffers of the UDP socket, each direction",
        SENDING, reload=PORTS,
    ),
    Option(
        "ratelimit", WholeNumber(0, BUFFER_MAX, "bytes per second"), 0,
        "most that a session sends, as UDP payload; 0 for no limit",
        SENDING, reload=NOW,
    ),
    Option(
        "dscp", WholeNumber(0, 63), 0, "DSCP of the IP packets: IPv4's TOS and IPv6's traffic class, six bits",
        SENDING, reload={CLIENT: NEW_SESSIONS, SERVER: NOW},
    ),
    Option(
        "congestion", LayerName(CONGESTION_CONTROLS, (BY_MODE,)), BY_MODE,
        "congestion control; mode leaves it to --mode, or to --nc",
        SENDING, metavar="NAME", kcptun=False,
    ),
    Option(
        "transport", LayerName(TRANSPORTS), "udp", "what carries datagrams, the same on both ends",
        SENDING, metavar="NAME", reload=PORTS, kcptun=False,
    ),
    Option(
        "datashard", WholeNumber(0, SHARDS_MAX - 1, "packets"), 10,
        "data packets in a group; 0 switches FEC off",
        FEC, aliases=("ds",),
    ),
    Option(
        "parityshard", WholeNumber(0, SHARDS_MAX - 1, "packets"), 3,
        "parity packets added to a group; 0 switches FEC off",
        FEC, aliases=("ps",),
    ),
    Option(
        "erasure", LayerName(ERASURE_CODES), "reedsolomon", "erasure code, the same on both ends",
        FEC, metavar="NAME", kcptun=False,
    ),
    Option(
        "nocomp", YesOrNo(), False, "do not compress with snappy",
        STREAMS, metavar="",
        difference="Our server goes by what the client's first bytes show.",
    ),
    Option(
        "compressor", LayerName(COMPRESSORS), "snappy", "what to compress with, the same on both ends",
        STREAMS, metavar="NAME", kcptun=False,
    ),
    Option(
        "smuxver", WholeNumber(1, 2), 2, "version of smux",
        STREAMS,
        difference="The default is that of kcptun's latest releases. Debian's 20210922 has 1: facing "
        "it, set 1 here or 2 there. Our server goes by the client's first frame.",
    ),
    Option(
        "smuxbuf", WholeNumber(FRAME_MAX + 1, BUFFER_MAX, "bytes"), 4194304,
        "most bytes of a session kept for applications to read",
        STREAMS,
    ),
    Option(
        "streambuf", WholeNumber(STREAMBUF_MIN, BUFFER_MAX, "bytes"), 2097152,
        "most bytes of a stream kept for its application to read (smux 2)",
        STREAMS,
    ),
    Option(
        "framesize", WholeNumber(1, FRAME_MAX, "bytes"), 8192, "most payload in one smux frame",
        STREAMS,
        difference="Debian's 20210922 has no such option and sends up to 32768.",
    ),
    Option(
        "keepalive", WholeNumber(1, KEEPALIVE_MAX, "seconds"), 10,
        "time between signs of life on an idle session",
        STREAMS,
    ),
    Option(
        "closewait", WholeNumber(0, CLOSEWAIT_MAX, "seconds"), {CLIENT: 0, SERVER: 30},
        "time that open streams have to end when the process is asked to stop; then they are cut",
        STREAMS, reload=NOW,
        difference="kcptun waits so long after one direction of a stream has ended before it closes the other. We "
        "close each direction when it ends, and give this time at SIGTERM and SIGINT.",
    ),
    Option(
        "workers", WholeNumber(1, WORKERS_MAX), 1,
        "processes that share the load, as many as there are cores at most; it helps once one of them keeps a core "
        "busy and there are several sessions (clients, or --conn of one): the system deals these by the client's "
        "address and port, so that one session is never faster, and one whose address changes under way is lost",
        PROCESSES, (SERVER,), reload=RESTART, kcptun=False,
    ),
    Option(
        "log", Text(optional=True), "", "write the log to this file; SIGHUP opens it anew",
        MESSAGES, metavar="FILE", reload=NOW,
        difference="kcptun logs to standard error otherwise; we to standard output, or where twistd is told to.",
    ),
    Option(
        "quiet", YesOrNo(), False, "do not log the opening and closing of streams",
        MESSAGES, metavar="", reload=NOW,
    ),
    Option(
        "snmplog", Text(optional=True), "",
        "append the counters to this file as CSV; its name is a Go time layout, as in ./snmp-20060102.log",
        MESSAGES, metavar="FILE", reload=NOW,
        difference="The columns are those of the latest releases. kcptun stops for good where it cannot open "
        "the file; we try again.",
    ),
    Option(
        "snmpperiod", WholeNumber(0, SECONDS_MAX, "seconds"), 60,
        "time between two lines of --snmplog; 0 switches it off",
        MESSAGES, reload=NOW,
    ),
    Option(
        "trace", Text(optional=True), "",
        "write what crosses between the layers to this file, for Wireshark; all data is in it, in the clear",
        MESSAGES, metavar="FILE", reload=RESTART, kcptun=False,
    ),
    Option(
        "pprof", YesOrNo(), False, "serve profiles of this process on http://127.0.0.1:6060/debug/pprof/",
        MESSAGES, metavar="", reload=RESTART,
        difference="Profiles of Python, by the same address; kcptun serves every interface, we this machine only.",
    ),
    Option(
        "tcp", Refused("kcpstack sends UDP only"), False, "not supported: kcptun's packets in the guise of TCP",
        MESSAGES, metavar="", setting=False,
        difference="Refused. --tcp=false and \"tcp\": false are accepted.",
    ),
)


def dashed(name: str) -> str:
    """An option as one types it."""
    return f"-{name}" if len(name) == 1 else f"--{name}"


def optionsOf(role: str, table: Sequence[Option] = TABLE) -> list[Option]:
    """The rows of one command, ``"client"`` or ``"server"``, in table order."""
    return [option for option in table if role in option.roles]
