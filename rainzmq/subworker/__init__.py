"""The process that runs Python tasks: `python -m rainzmq.subworker`, started by a worker.

connection  frames and claims         sandbox  working directories
tasks       runs one task             context  what the user's function sees
outputs     return value to results   failure  exception to text
streams     standard streams
"""
