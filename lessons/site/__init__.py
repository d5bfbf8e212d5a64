"""The course as a site: pages made of the lessons, which are executed for it, and of the docstrings."""
