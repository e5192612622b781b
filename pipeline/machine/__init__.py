"""What this process runs on: devices, memory, worker processes, signals.

Nothing here knows a video, a face or a model.

Interface, by file:
    devices: choose_device
    interrupts: Interrupts
    isolation: Crash, in_order
    memory: is_memory_error, keep_freed_memory, near_limit
    worker_pool: QUEUED_PER_WORKER, crash_detail, settle, stop_workers, worker_count,
        worker_pool
"""
