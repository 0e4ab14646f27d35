"""Numbers in, numbers out: limits, p-values, power, associations, looks.

Input: columns, one number a document. Output: intervals and what they decide. May import the plain values of `claims`
(a verdict, an operator, an interval), `quantities` and the ground modules. Knows no model.
"""
