"""What a flow of many more messages than were tried would take, from what smaller ones took.

`measured.py` reads what steps and parts of them took on few messages, and what a card computes; `network.py` counts the
operations of a backbone; `storage.py` bytes, requests and prices; `limits.py` what breaks, and at which size; `page.py`
writes the tables of docs/scale.md; `pieces.py` measures. Nothing here runs a flow.
"""
