"""The fields of a chat request that offer functions, and what follows from them."""

from __future__ import annotations

from pydantic import BaseModel, model_validator

from control_plane.gateway.tools.families import family_for
from control_plane.gateway.tools.schemas import FunctionTool, ToolChoiceInput, Tools
from infra.wire import OfferedTools


class ToolOptions(BaseModel):
    tools: Tools = []
    tool_choice: ToolChoiceInput | None = None
    """By default "auto" where there are tools."""
    parallel_tool_calls: bool = True

    @model_validator(mode="after")
    def _choice_is_possible(self) -> ToolOptions:
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise ValueError("the names of 'tools' must differ")
        if self._chosen is not None and self._chosen not in names:
            raise ValueError(f"'tool_choice' names {self._chosen}, which is not among the tools")
        if self._choice == "required" and not names:
            raise ValueError("'tool_choice' demands a call, but there are no tools")
        return self

    @property
    def _choice(self) -> str:
        return "auto" if self.tool_choice is None else self.tool_choice.type

    @property
    def _chosen(self) -> str | None:
        """The function that must be called."""
        choice = self.tool_choice
        return None if choice is None or choice.function is None else choice.function.name

    @property
    def offered(self) -> list[FunctionTool]:
        """The functions that the model is told of."""
        return [] if self._choice == "none" else self.tools

    @property
    def demanded(self) -> list[FunctionTool]:
        """Those one of which must be called; empty where the model may answer instead."""
        if self._choice == "function":
            return [tool for tool in self.tools if tool.function.name == self._chosen]
        return self.tools if self._choice == "required" else []

    @property
    def several_calls(self) -> bool:
        return self.parallel_tool_calls and self._choice != "function"

    def tools_read_by(self, template: str) -> OfferedTools | None:
        """How calls are found in the answer of a model with this chat template."""
        if not self.offered:
            return None
        names = tuple(tool.function.name for tool in self.offered)
        return OfferedTools(family_for(template).name, names, self.several_calls)
