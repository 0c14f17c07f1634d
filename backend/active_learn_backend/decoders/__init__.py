"""Decoders of audio, video and PDF files of unknown origin, in processes of their own.

Such files are read by programs in C, where a hostile file may take all memory, never end, or crash
the process. So they run in a child process (`__main__`) with limits of time and memory and without
the settings of this one, and `process` asks it.
"""
