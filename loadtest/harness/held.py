"""Memory per WebSocket at rest: many that have said one message and now say nothing."""

from . import counters
from .idle import choose_points, fit_slopes, settle
from .load import SOCKETS
from .process import Child, Failed, wait_until

POINTS = (3_000, 6_000, 9_000)
"""How many sockets are open at each reading. A proxy has two descriptors for each."""

OPEN_SECONDS = 60


def measure(running, scenario, settle_seconds, core, directory):
    """Opens ever more sockets, a message on each, and reads the tree's memory after each step; gives points and slopes.

    Between the steps `scenario` keeps the allocator at work. Sockets that do not answer at the end count as closed by the proxy.
    """
    readings, steps = [], choose_points(POINTS)
    with Child("sockets", [SOCKETS, "hold", running.port], core, directory / "held-output", told=True) as holder:
        for step, point in enumerate(steps):
            _expect(holder, step, point, point, running)
            settle(running, scenario, settle_seconds)
            readings.append({"connections": point, **counters.read_memory(running.child.pid)})
        alive = _ask(holder, len(steps), steps[-1], running)
    return {"readings": readings, "closed_by_proxy": steps[-1] - alive, **fit_slopes(readings)}


def _expect(holder, step, point, count, running):
    """Raises `Failed` unless all of the sockets answer."""
    if (alive := _ask(holder, step, point, running)) != count:
        raise Failed(f"{running.name}, ws-idle: {alive} of {count} sockets answered; its output: {running.child.tail()}")


def _ask(holder, step, point, running):
    """Has `point` sockets open and asks each for a message; gives how many answered. `step` lines were printed before."""

    def lines():
        return holder.output.read_text().splitlines()

    holder.tell(point)
    try:
        wait_until(lambda: len(lines()) > step or holder.fail_if_ended(), OPEN_SECONDS, f"{point} sockets had answered")
        return int(lines()[step])
    except (Failed, ValueError) as failure:
        raise Failed(f"{running.name}, ws-idle: {failure}; its output: {running.child.tail()}") from None
