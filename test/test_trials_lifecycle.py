"""Every transition in any order, 50 times, by the lifecycle services, without leak: with a predictor that is quick."""

import gc
import os
import random
import threading

import pytest
from lifecycle_msgs.srv import ChangeState, GetState
from node_fakes import overrides
from node_rig import Rig, rigs

from dps_perception.node.node import DpsNode
from dps_perception.trials.stand import TrialError
from dps_perception.trials.storms import LEADS, TRANSITIONS, walk

TIMES = 50
ENTITIES = ("publishers", "subscriptions", "timers", "services", "clients", "guards", "waitables")


class Operator:
    """Asks a rig's node through its services."""

    def __init__(self, rig):
        self.rig = rig
        self.clients = {kind: rig.other.create_client(kind, f"/dps/{name}")
                        for kind, name in ((ChangeState, "change_state"), (GetState, "get_state"))}  # fmt: skip
        for client in self.clients.values():
            rig.until(client.service_is_ready)

    def ask(self, kind, **transition):
        request = kind.Request()
        for name, value in transition.items():
            setattr(request.transition, name, value)
        future = self.clients[kind].call_async(request)
        self.rig.until(future.done)
        return future.result()

    def change(self, transition):
        return self.ask(ChangeState, label=transition).success

    def state(self):
        return self.ask(GetState).current_state.label


collect = gc.collect


@pytest.fixture(autouse=True)
def quick_configure(monkeypatch):
    """The node collects garbage at each configure: half a second in this process, which has all of PyTorch."""
    monkeypatch.setattr(gc, "collect", lambda generation=0: 0)


def held(rig):
    collect()
    entities = {name: len(list(getattr(rig.node, name))) for name in ENTITIES}
    return {"threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd")), **entities}


def test_every_transition_in_any_order_50_times_leaves_nothing_behind():
    with rigs() as make:
        rig = make(autostart=False)
        operator, rng = Operator(rig), random.Random(0)
        walk(operator.change, operator.state, 2, rng)
        before = held(rig)
        made, refused = walk(operator.change, operator.state, TIMES, rng)
        assert min(made.values()) >= TIMES
        assert refused > TIMES
        assert held(rig) == before
        assert all(predictor.closed for predictor in rig.loaded)


def test_shutdown_from_every_state_50_times_leaves_nothing_behind():
    ways = {"unconfigured": [], "inactive": ["configure"], "active": ["configure", "activate"]}
    rng = random.Random(0)
    with rigs() as make:
        rig = make(autostart=False)
        operator = Operator(rig)
        before = None
        for index in range(TIMES):
            state = rng.choice(list(ways))
            for transition in ways[state]:
                assert operator.change(transition)
            assert operator.state() == state
            assert operator.change("shutdown")
            assert operator.state() == "finalized"
            for transition in TRANSITIONS:
                assert not operator.change(transition)
            renew(rig)
            for client in operator.clients.values():
                rig.until(client.service_is_ready)
            if index == 4:
                before = held(rig)
        assert held(rig) == before


def renew(rig: Rig) -> None:
    """Another node in the place of the finalized one."""
    rig.executor.remove_node(rig.node)
    rig.node.destroy_node()
    load = rig.node._load
    rig.node = DpsNode(load, context=rig.other.context, parameter_overrides=overrides(autostart=False))
    rig.executor.add_node(rig.node)


def test_the_walk_notices_a_node_that_does_otherwise():
    """A node that lets itself be activated twice, and one that stays where it is."""
    state = ["unconfigured"]

    def change(transition):
        leads = LEADS.get((state[0], transition))
        state[0] = leads or state[0]
        return leads is not None or (state[0], transition) == ("active", "activate")

    with pytest.raises(TrialError, match="activate of the active node was made"):
        walk(change, lambda: state[0], 5, random.Random(0))
    with pytest.raises(TrialError, match="after configure the node is unconfigured, not inactive"):
        walk(lambda transition: transition == "configure", lambda: "unconfigured", 5, random.Random(0))
