"""Sphinx: the directive and the role ``measured``, which put figures of the benchmarks into a page.

The directive's argument names the results and conditions of the whole table, its body is a table as
`measured.fill_table` takes it. The role holds the name of the results and a query. What was not measured is a warning.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.statemachine import StringList
from measured import Line, NotMeasuredError, fill_table, read_results, select, show_figure
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)


class MeasuredDirective(SphinxDirective):
    """A table."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The nodes of the table with its figures."""
        name, *conditions = shlex.split(self.arguments[0])
        try:
            rows = list(fill_table(select(results(self, name), conditions), self.content))
        except NotMeasuredError as error:
            logger.warning(str(error), location=self.get_location())
            return []
        made = nodes.Element()
        self.state.nested_parse(StringList(rows, self.get_source_info()[0]), self.content_offset, made)
        return list(made.children)


class MeasuredRole(SphinxRole):
    """A figure in a sentence."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The figure as text."""
        name, _, query = self.text.partition(" ")
        try:
            return [nodes.Text(show_figure(results(self, name), query))], []
        except NotMeasuredError as error:
            logger.warning(str(error), location=self.get_location())
            return [], []


def results(here: SphinxDirective | SphinxRole, name: str) -> list[Line]:
    """Lines of results; the page is made again when they change."""
    folder = Path(here.config.measured_folder)
    here.env.note_dependency(folder / f"{name}.jsonl")
    return read_results(folder, name)


def setup(app: "Sphinx") -> dict[str, bool]:
    """Register both."""
    app.add_config_value("measured_folder", "", "env", str)
    app.add_directive("measured", MeasuredDirective)
    app.add_role("measured", MeasuredRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
