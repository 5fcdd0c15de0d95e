"""Documents for people: templates that an office may change, PDF, drawings with Chinese words, sheets.

It knows no tables: what a document says is collected by the room whose subject it is.
"""
