"""JupyterLab as a student meets it (`make lab`): the first chapter opens, and the file list shows what one reads.

`labconfig/page_config.json` beside this file takes out nbgrader's panels and the question about news. Teachers get the
panels with `make lab LAB_CONFIG=` (book/teachers.md).
"""

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
c.LabApp.default_url = "/lab/tree/book/00_start_here.ipynb"
c.ContentsManager.hide_globs = [
    "__pycache__", "*.pyc", "*.egg-info", "*~",
    "*.py", "_static", "_build", "jupyter", "quizzes", "tools",  # made of the notebooks, or what makes them
]  # fmt: skip
