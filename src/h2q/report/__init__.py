"""Documents of tables and figures, and their renderers: terminal, Markdown, LaTeX, HTML."""
