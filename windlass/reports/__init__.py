"""Plan, progress and result as markdown, HTML, JSON and terminal text."""
