"""The law as data: a table of rules, examples that it must answer rightly, and the decision that reads it.

Nothing here touches the database or geometry: areas, dates and shares go in, a decision with its words comes out.
"""
