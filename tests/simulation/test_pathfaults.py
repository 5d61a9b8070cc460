"""Why a path is silent, found out on virtual time: within seconds where there is a reason, never where there is none."""

from __future__ import annotations

import pytest
from badpaths import SECONDS, badPath
from conversations import Ends
from openarq import OpenARQ
from tunnel import Tunnel
from twisted.logger import Logger, formatEvent, globalLogPublisher

from kcpstack.kernels.pathcheck import Verdict
from kcpstack.lograte import RareLog
from kcpstack.pathfaults import PathLog

MODES = ["normal", "fast", "fast2", "fast3"]
SHARDS = [(0, 0), (10, 3)]
SOON = 10.0  # virtual seconds from the fault to its name
LOSSY = {"loss": 0.2, "jitter": 10.0}


def met(seed=1, faults=None, shards=(0, 0), **options) -> Ends:
    ends = Ends(seed, faults, datashard=shards[0], parityshard=shards[1], nocomp=True, **options)
    ends.meet()
    return ends


def verdicts(ends: Ends) -> dict[str, list[Verdict]]:
    return {"client": ends.client.verdicts(), "server": ends.server.verdicts() if ends.server else []}


class TestTooLarge:
    @pytest.mark.option("mtu")
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("loss", [0.0, 0.2])
    @pytest.mark.parametrize("way", ["client", "server"])
    def test_a_bulk_transfer_over_a_path_that_carries_less_is_explained(self, mode, loss, way):
        ends = met(faults={"mtu": 1280, "loss": loss}, mtu=1400, mode=mode)
        sender = getattr(ends, way)
        sender.pour()
        ends.run(SOON)
        assert verdicts(ends) == {"client": [], "server": [], way: [Verdict.TOO_LARGE]}
        ((_, fault),) = sender.faults
        assert fault.size == 1400 and fault.passed < 100

    @pytest.mark.parametrize("shards", SHARDS)
    @pytest.mark.parametrize("way", ["client", "server"])
    def test_sizes_are_those_of_udp_payloads_with_all_headers(self, shards, way):
        ends = met(faults={"mtu": 1280}, mtu=1400, shards=shards)
        for _ in range(40):  # so that each end has learned the other's FEC
            ends.client.write(10)
            ends.server.write(10)
            ends.run(0.1)
        sender = getattr(ends, way)
        sender.pour()
        ends.run(SOON)
        assert [fault.size for _, fault in sender.faults] == [1400]

    def test_one_long_datagram_that_nothing_follows_is_enough(self):
        ends = met(faults={"mtu": 1280}, mtu=1400)
        ends.client.write(1400)
        ends.run(SOON)
        assert ends.client.verdicts() == [Verdict.TOO_LARGE]

    def test_the_longest_that_arrives_is_told(self):
        ends = met(faults={"mtu": 1280}, mtu=1400)
        ends.client.write(1000)
        ends.run(1)
        ends.client.pour()
        ends.run(SOON)
        ((_, fault),) = ends.client.faults
        assert (fault.size, fault.passed) == (1400, 1000 + 24 + 20)

    def test_a_path_whose_limit_shrinks_under_way_is_explained_too(self):
        ends = met(faults=LOSSY, mtu=1400)
        ends.client.pour()
        ends.run(5)
        ends.up.configure(mtu=1280)
        ends.run(SOON)
        assert ends.client.verdicts() == [Verdict.TOO_LARGE]
        assert ends.client.faults[0][1].passed < 100  # what passed before tells nothing now

    def test_it_is_said_once_and_again_only_after_it_had_healed(self):
        ends = met(faults={"mtu": 1280}, mtu=1400)
        ends.client.pour()
        ends.run(120)
        assert ends.client.verdicts() == [Verdict.TOO_LARGE]
        received = ends.server.received
        ends.up.configure(mtu=0)
        ends.run(70)
        assert ends.server.received > received + 1_000_000
        ends.up.configure(mtu=1280)
        ends.run(SOON)
        assert ends.client.verdicts() == [Verdict.TOO_LARGE] * 2

    def test_both_ends_say_it_where_both_send_much(self):
        ends = met(faults={"mtu": 1280, **LOSSY}, mtu=1400)
        ends.client.pour()
        ends.server.pour()
        ends.run(SOON)
        assert verdicts(ends) == {"client": [Verdict.TOO_LARGE], "server": [Verdict.TOO_LARGE]}

    def test_a_session_that_is_paced_finds_out_as_well(self):
        ends = met(faults={"mtu": 1280}, mtu=1400)
        ends.client.session.setRate(20_000)
        ends.client.pour()
        ends.run(SOON)
        assert ends.client.verdicts() == [Verdict.TOO_LARGE]


class TestOneDirection:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("shards", SHARDS)
    @pytest.mark.parametrize("loss", [0.0, 0.2])
    def test_a_fresh_client_that_our_answers_do_not_reach_is_named_by_the_server(self, mode, shards, loss):
        ends = Ends(faults={"loss": loss}, mode=mode, datashard=shards[0], parityshard=shards[1])
        ends.down.configure(cut=True)
        ends.client.write(100)
        ends.run(SOON)
        assert verdicts(ends) == {"client": [], "server": [Verdict.DEAF]}

    @pytest.mark.parametrize("loss", [0.0, 0.2])
    @pytest.mark.parametrize("bulk", [["client"], ["server"], ["client", "server"]])
    def test_the_end_that_is_heard_no_more_under_way_says_so(self, loss, bulk):
        for cut, hears in (("up", "client"), ("down", "server")):
            if bulk == [hears]:
                continue  # it hears nothing, so nobody can tell: it is silence
            ends = met(faults={"loss": loss})
            for end in bulk:
                getattr(ends, end).pour()
            ends.run(2)
            getattr(ends, cut).configure(cut=True)
            ends.run(SOON)
            found = verdicts(ends)
            assert found.pop(hears) in ([Verdict.DEAF], [Verdict.UNHEARD])
            assert list(found.values()) == [[]]

    def test_it_is_said_again_only_after_the_peer_had_heard_us(self):
        ends = Ends()
        ends.down.configure(cut=True)
        ends.client.write(100)
        ends.run(60)
        assert ends.server.verdicts() == [Verdict.DEAF]
        ends.down.configure(cut=False)
        ends.server.write(100)
        ends.run(60)
        assert not ends.client.arq.unacknowledged and not ends.server.arq.unacknowledged
        ends.down.configure(cut=True)
        ends.client.write(100)
        ends.run(SOON)
        assert ends.server.verdicts() == [Verdict.DEAF] * 2


class TestNoFalseAlarm:
    @pytest.mark.parametrize("first", range(0, 40, 10))
    def test_no_fault_is_found_in_a_path_that_is_only_bad(self, first):
        for seed in range(first, first + 10):
            ends = badPath(seed)
            ends.run(SECONDS)
            assert verdicts(ends) == {"client": [], "server": []}, f"seed {seed}\n{ends.network.history()}"

    def test_nobody_there_and_a_peer_that_forgot_us_are_silence_and_no_fault(self):
        for forgets in (False, True):
            ends = met()
            ends.client.pour()
            ends.run(1)
            if forgets:
                ends.server.session.abortConnection()
            else:
                ends.up.configure(cut=True)
                ends.down.configure(cut=True)
            ends.run(60)
            assert verdicts(ends) == {"client": [], "server": []}

    def test_a_reader_that_has_stopped_is_no_fault(self):
        ends = met(rcvwnd=32)
        ends.server.session.pauseProducing()
        ends.client.pour()
        ends.run(60)
        assert verdicts(ends) == {"client": [], "server": []}

    def test_an_end_that_was_suspended_is_no_fault(self):
        ends = met()
        for end in (ends.client, ends.server):
            end.session.setRate(100_000)
            end.pour()
        ends.run(1)
        resume = ends.serverTransport._deliver
        ends.serverTransport._deliver = lambda parcels: None  # it reads nothing, and its timers run
        ends.run(5)
        ends.serverTransport._deliver = resume
        ends.run(10)
        assert verdicts(ends) == {"client": [], "server": []}

    @pytest.mark.option("ratelimit")
    @pytest.mark.parametrize(("rate", "loss"), [(200, 0.0), (300, 0.2)])
    def test_questions_that_our_own_pace_holds_back_are_not_unanswered(self, rate, loss):
        ends = met(faults={"loss": loss}, mtu=1400)
        ends.client.session.setRate(rate)
        ends.server.pour()
        ends.run(60)
        assert verdicts(ends) == {"client": [], "server": []}


def test_where_all_is_well_the_check_is_never_asked():
    ends = met(mode="fast")
    looks = []
    for end in (ends.client, ends.server):
        end.session._pathCheck.look = lambda now, headroom: looks.append(now)
        end.pour()
    ends.run(3)
    assert ends.server.received > 1_000_000 and looks == []


def test_a_session_that_nobody_watches_probes_nothing():
    ends = met(faults={"mtu": 1280}, mtu=1400)
    ends.client.session._pathCheck = None
    probed = []
    assert isinstance(ends.client.arq, OpenARQ)
    ends.client.arq.probe = lambda: probed.append(True)
    ends.client.pour()
    ends.run(SOON)
    assert ends.client.faults == probed == []


def test_once_the_path_is_good_again_everything_arrives_and_nothing_ticks():
    ends = met(faults={"mtu": 1280}, mtu=1400)
    ends.client.write(50_000)
    ends.run(30)
    ends.up.configure(mtu=0)
    assert ends.until(lambda: ends.server.received == 50_001 and not ends.client.arq.unacknowledged, 60)
    ends.run(1)
    assert ends.clock.getDelayedCalls() == []


class TestLines:
    @pytest.fixture
    def lines(self):
        seen: list[str] = []
        observer = lambda event: seen.append(formatEvent(event))
        globalLogPublisher.addObserver(observer)
        yield seen
        globalLogPublisher.removeObserver(observer)

    def found(self, ends: Ends, end: str):
        ((_, fault),) = getattr(ends, end).faults
        return fault

    def test_too_large_names_the_sizes_and_the_remedy(self, lines):
        ends = met(faults={"mtu": 1280}, mtu=1400)
        ends.client.pour()
        ends.run(SOON)
        PathLog(RareLog(Logger(), ends.clock)).faultFound(0xABC, ("192.0.2.1", 29900), self.found(ends, "client"))
        (line,) = [line for line in lines if "vanish" in line]
        assert line.startswith(
            "Session 00000abc: datagrams of 1400 bytes vanish on the way to 192.0.2.1:29900, while those of 45 arrive"
        )
        assert "lower --mtu on BOTH ends" in line and "tracepath" in line

    def test_deaf_names_the_direction(self, lines):
        ends = Ends()
        ends.down.configure(cut=True)
        ends.client.write(100)
        ends.run(SOON)
        fault = self.found(ends, "server")
        PathLog(RareLog(Logger(), ends.clock)).faultFound(1, ends.server.session.getPeer(), fault)
        PathLog(RareLog(Logger(), ends.clock)).faultFound(1, ends.server.session.getPeer(), fault._replace(verdict=Verdict.UNHEARD))
        deaf, unheard = (line for line in lines if "NAT between us" in line)
        assert "10.99.0.1:40000 does not hear our answers" in deaf and f"{fault.questions} questions in 6 s" in deaf
        assert "we hear 10.99.0.1:40000, but it does not hear us" in unheard

    def test_a_host_that_dials_again_and_again_is_named_once_in_a_while_for_each_fault(self, lines):
        ends = Ends()
        ends.down.configure(cut=True)
        ends.client.write(100)
        ends.run(SOON)
        fault = self.found(ends, "server")
        log = PathLog(RareLog(Logger(), ends.clock))
        for port in range(50):
            log.faultFound(port, ("192.0.2.1", 1000 + port), fault)
            log.faultFound(port, ("192.0.2.2", 1000 + port), fault)
            log.faultFound(port, ("192.0.2.2", 1000 + port), fault._replace(verdict=Verdict.UNHEARD))
        assert len([line for line in lines if "NAT between us" in line]) == 3


def test_a_client_that_gets_another_address_while_its_path_is_checked_is_followed():
    tunnel = Tunnel(faults={"delay": 150.0}, datashard=0)
    tunnel.client.start()
    stream = tunnel.open(b"hello")
    assert tunnel.run(lambda: stream.received == b"hello", 10)
    tunnel.network.cut(tunnel.sockets[0], tunnel.transport)
    stream.transport.write(b"!")
    tunnel.advance(2.6)  # the check has begun: what is sent again comes behind its questions
    tunnel.sockets[0].rebind(("10.50.0.1", 5000))
    tunnel.network.heal(tunnel.sockets[0], tunnel.transport)
    assert tunnel.run(lambda: stream.received == b"hello!", 1)
