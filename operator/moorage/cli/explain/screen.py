"""The tree as people see it: a line for each object, its facts and events below it, the cause in red. Called by `command.py`."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from moorage.cli.explain.cause import Cause
from moorage.cli.explain.tree import Event, Node, age

_MARKS = {"good": ("✓", "green"), "waiting": ("…", "yellow"), "bad": ("✗", "red"), "missing": ("-", "dim")}
_MORE = "docs/reference/conditions.md"


def picture(root: Node, cause: Cause | None, unread: tuple[str, ...], now: datetime) -> RenderableType:
    """The tree, and below it the cause and what to do."""
    lines: list[RenderableType] = [_branch(root, now)]
    if unread:
        lines.append(Text(f"you may not read {', '.join(unread)}: the tree is without them", style="yellow"))
    if cause is not None:
        lines.append(Text.assemble(("cause: ", "bold red"), plain(f"{cause.kind} {cause.name}: {cause.reason}")))
        lines.append(Text(plain(f"  {cause.message}")))
        if cause.fix:
            lines.append(Text.assemble(("what to do: ", "bold"), plain(cause.fix)))
        lines.append(Text(f"every reason: {_MORE}", style="dim"))
    return Group(*lines)


def plain(text: str) -> str:
    """Without what a terminal would take for a command: much of it was written by others."""
    return "".join(char if char.isprintable() else " " for char in text)


def _branch(node: Node, now: datetime) -> Tree:
    tree = Tree(_line(node), guide_style="dim")
    for fact in node.facts:
        tree.add(Text(plain(fact), style="red" if node.cause else "default"))
    for event in node.events:
        tree.add(_event(event, now))
    for child in node.children:
        tree.children.append(_branch(child, now))
    return tree


def _line(node: Node) -> Text:
    mark, colour = _MARKS[node.state]
    line = Text.assemble((f"{mark} ", colour), (node.kind, "bold"), " ", (plain(node.name), "cyan"), "  ")
    line.append(plain(node.summary), style=colour)
    if node.cause:
        line.append("  ◀ the cause", style="bold red")
    return line


def _event(event: Event, now: datetime) -> Text:
    often = f" ({event.count} times)" if event.count > 1 else ""
    ago = f"{since} ago, " if (since := age(event.at, now)) else ""
    style = "yellow" if event.type == "Warning" else "dim"
    return Text(plain(f"event {ago}{event.reason}{often}: {event.message}"), style=style)
