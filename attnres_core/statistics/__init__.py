"""Numbers in, numbers out: limits, p-values, power, associations, looks.

Comes in: columns, one number a document. Goes out: intervals and what they decide. Knows no model and no claim's text;
imports the plain values of `claims` (a verdict, an operator, an interval) and the ground modules.
"""
