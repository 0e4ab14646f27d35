"""TELL, to people: a record becomes a page, a card, a comparison, a table over seeds.

Input: records. Output: HTML, Markdown, text. May import `records`, plain values of `claims` and the ground modules;
`across_seeds` alone decides something, and imports `judging` and `statistics`.
"""
