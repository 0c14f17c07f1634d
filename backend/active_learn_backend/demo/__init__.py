"""The demo: a real Label Studio, a real backend and a simulated annotator, end to end.

``python -m active_learn_backend.demo`` runs it. The end-to-end tests and the benchmarks start their
servers with the same rooms: ``process`` (a server in a process group of its own), ``label_studio``
and ``backend`` (the two servers), ``annotator`` (who answers), ``digits`` and ``entities``
(what is annotated).
"""
