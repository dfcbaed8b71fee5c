"""What a person does with the outbox: switch sending off and on, let a held run go on or end it. Audited.

Each step can be done twice. It sends nothing. Called by the desk's outbox page.
"""

from __future__ import annotations

from api.wiring import Services
from feeds.desk.staff import Actor
from feeds.kernel.errors import UsageError

_MAY = ("editor", "duty")


def may_act(actor: Actor) -> bool:
    """Whether somebody may stop, release, cancel and ask who got what; the state all at the desk may see."""
    return any(role in actor.roles for role in _MAY)


def act(
    services: Services, actor: Actor, do: str, *, channel: str = "", reason: str = "", run_id: int = 0
) -> int:
    """Do one thing and write down who did it.

    Args:
        services: The joined parts.
        actor: Who.
        do: ``pause``, ``resume``, ``release`` or ``cancel``.
        channel: Of the first two: one channel, or ``""`` for everything.
        reason: Why it is paused; people at the desk read it.
        run_id: Of the last two.

    Returns:
        How many messages go on or are cancelled; 0 for the switch.

    Raises:
        UsageError: If the person may not, or there is nothing of that name.
    """
    if not may_act(actor):
        raise UsageError(
            "Your account may not stop or release messages; ask for the role `editor` or `duty`."
        )
    if channel and channel not in services.channels:
        raise UsageError(f"There is no channel {channel!r}; choose from {', '.join(services.channels)}.")
    if do == "pause" and not reason.strip():
        raise UsageError("Say why sending is stopped; your colleagues read it.")
    outbox, now, count = services.outbox, services.clock.now(), 0
    if do == "pause":
        outbox.pause(now, reason[:200], channel)
    elif do == "resume":
        outbox.resume(channel)
    elif do in ("release", "cancel"):
        if run_id not in {one.run_id for one in outbox.held_runs()}:
            raise UsageError(f"Run {run_id} does not wait any more; reload the page.")
        count = (
            outbox.release(run_id, now, actor.label) if do == "release" else outbox.cancel_run(run_id, now)
        )
    else:
        raise UsageError("There is no such action; reload the page and choose again.")
    details = {"do": do, "channel": channel, "run": run_id, "reason": reason[:200], "messages": count}
    services.audit.append("outbox", actor=actor.label, at=now, details=details)
    return count
