"""Every command of `windlass`: its name, its module, and the line that help shows of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`module` has `add_arguments(parser)` and `run(args) -> int`; it is imported when asked for."""

    name: str
    module: str
    says: str


COMMANDS = (
    Command("init", "windlass.cli.init", "write a site file from an OpenTofu folder"),
    Command("check", "windlass.cli.check", "read a site file and say what is wrong with it"),
    Command("lab", "windlass.cli.lab", "a simulated site on this machine"),
    Command("demo", "windlass.cli.demo", "a whole site boots in the lab before your eyes"),
    Command("bootstrap", "windlass.cli.bootstrap", "plan a new cluster; with --apply, build it"),
    Command("classify", "windlass.cli.classify", "say what kinds of change a merged commit holds"),
    Command("serve", "windlass.cli.serve", "host the deployments in the Prefect UI"),
    Command("approve", "windlass.cli.approve", "say yes to the plan of an operation, by its hash"),
    Command("freeze", "windlass.cli.freeze", "let nothing change a site until it is thawed"),
    Command("thaw", "windlass.cli.thaw", "let a frozen site be changed again"),
    Command("history", "windlass.cli.history", "list operations, newest first"),
    Command("show", "windlass.cli.show", "one operation: its plan and how far it came"),
    Command("resume", "windlass.cli.resume", "go on with an operation where it stopped"),
    Command("cancel", "windlass.cli.cancel", "stop an operation at its next safe point"),
    Command("export", "windlass.cli.export", "write the journal of an operation as JSON lines"),
    Command("verify", "windlass.cli.verify", "prove that the journal is whole and unaltered"),
)
