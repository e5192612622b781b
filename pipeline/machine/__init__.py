"""What this process runs on: devices, memory, worker processes, signals.

Nothing here knows a video, a face or a model.

Interface, by file:
    devices: choose_device, may_have_gpu
    interrupts: Interrupts
    isolation: Crash, in_order
    memory: address_space, is_memory_error, keep_freed_memory, keep_some_freed_memory,
        limit_memory, near_limit
    watched: Say, listen
    worker_pool: QUEUED_PER_WORKER, crash_detail, settle, stop_workers, too_tight,
        worker_count, worker_pool
"""
