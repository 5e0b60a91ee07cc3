"""Algorithm Two, first half: value vectors read as tokens."""

from cotlens.project.projection import project
from cotlens.project.search import search_token
from cotlens.project.stage import project_stage

__all__ = ["project", "project_stage", "search_token"]
