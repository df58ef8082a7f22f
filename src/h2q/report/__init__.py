"""Tables and figures, and their renderers: Markdown, LaTeX, HTML."""
