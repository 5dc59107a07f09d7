// Goal: Varve from Rust, with nothing but the standard library: an engine, a disk whose storage is
// a Rust vector, a queue of writes, a snapshot behind them. Method: the declarations below are
// written by hand from include/varve/c, as a binding's author would.
//
// Usage: rust_program
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};

#[repr(C)]
struct Engine(c_void);
#[repr(C)]
struct Storage(c_void);
#[repr(C)]
struct Image(c_void);
#[repr(C)]
struct Queue(c_void);
#[repr(C)]
struct StorageRequest(c_void);

#[repr(C)]
struct Error {
    size: usize,
    code: i32,
    os_errno: i32,
    tag: u32,
    reserved: u32,
    offset: u64,
    value: u64,
    limit: u64,
    what: *const c_char,
    rule: *const c_char,
    message: [c_char; 256],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct IoVec {
    data: *mut c_void,
    size: usize,
}

#[repr(C)]
struct StorageIo {
    size: usize,
    operation: u32,
    tag: u32,
    offset: u64,
    length: u64,
    vectors: *const IoVec,
    vector_count: u32,
    reserved: u32,
}

#[repr(C)]
struct StorageCallbacks {
    size: usize,
    owner: *mut c_void,
    name: *const c_char,
    flags: u32,
    request_alignment: u32,
    memory_alignment: u32,
    reserved: u32,
    submit: extern "C" fn(*mut c_void, *mut StorageRequest),
    get_size: extern "C" fn(*mut c_void) -> u64,
    lock: Option<extern "C" fn(*mut c_void, c_int, c_int) -> i32>,
    unlock: Option<extern "C" fn(*mut c_void)>,
    close: Option<extern "C" fn(*mut c_void)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    user_data: u64,
    operation: u32,
    flags: u32,
    offset: u64,
    length: u64,
    data: *mut c_void,
    vectors: *const IoVec,
    vector_count: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    code: i32,
    os_errno: i32,
    tag: u32,
    reserved: u32,
    offset: u64,
    what: *const c_char,
    rule: *const c_char,
}

#[repr(C)]
struct CreateOptions {
    size: usize,
    disk_bytes: u64,
}

#[repr(C)]
struct OpenOptions {
    size: usize,
    format: u32,
    flags: u32,
}

const OK: i32 = 0;
const OUT_OF_RANGE: i32 = 5;
const OPEN_WRITABLE: u32 = 1;
const READ: u32 = 0;
const WRITE: u32 = 1;

extern "C" {
    fn varve_engine_create(o: *const c_void, engine: *mut *mut Engine, e: *mut Error) -> i32;
    fn varve_engine_destroy(engine: *mut Engine, e: *mut Error) -> i32;
    fn varve_engine_wait(engine: *mut Engine, milliseconds: c_int) -> usize;
    fn varve_storage_open_callbacks(engine: *mut Engine, callbacks: *const StorageCallbacks,
                                    storage: *mut *mut Storage, e: *mut Error) -> i32;
    fn varve_storage_request_get(request: *const StorageRequest, io: *mut StorageIo) -> i32;
    fn varve_storage_complete(request: *mut StorageRequest, code: i32, os_errno: c_int);
    fn varve_image_create_in(storage: *mut Storage, data: *mut Storage, o: *const CreateOptions,
                             e: *mut Error) -> i32;
    fn varve_image_open_storage(storage: *mut Storage, o: *const OpenOptions,
                                image: *mut *mut Image, e: *mut Error) -> i32;
    fn varve_image_read(image: *mut Image, offset: u64, target: *mut c_void, length: usize,
                        e: *mut Error) -> i32;
    fn varve_image_close(image: *mut Image, e: *mut Error) -> i32;
    fn varve_queue_create(image: *mut Image, depth: u32, queue: *mut *mut Queue, e: *mut Error)
                          -> i32;
    fn varve_queue_submit(queue: *mut Queue, requests: *const Request, count: usize,
                          e: *mut Error) -> usize;
    fn varve_queue_reap(queue: *mut Queue, completions: *mut Completion, capacity: usize) -> usize;
    fn varve_queue_close(queue: *mut Queue, e: *mut Error) -> i32;
    fn varve_snapshot_create(image: *mut Image, o: *const c_void, created: *mut c_void,
                             e: *mut Error) -> i32;
    fn varve_snapshot_apply(image: *mut Image, index: usize, e: *mut Error) -> i32;
}

// The disk's storage: bytes in a vector that the library knows nothing of.
extern "C" fn submit(owner: *mut c_void, request: *mut StorageRequest) {
    let bytes = unsafe { &mut *(owner as *mut Vec<u8>) };
    let mut io: StorageIo = unsafe { std::mem::zeroed() };
    io.size = std::mem::size_of::<StorageIo>();
    assert_eq!(unsafe { varve_storage_request_get(request, &mut io) }, OK);
    let vectors = if io.vectors.is_null() {
        &[][..]
    } else {
        unsafe { std::slice::from_raw_parts(io.vectors, io.vector_count as usize) }
    };
    let mut at = io.offset as usize;
    let end = at + io.length as usize;
    match io.operation {
        0 => {
            for vector in vectors {
                let target =
                    unsafe { std::slice::from_raw_parts_mut(vector.data as *mut u8, vector.size) };
                for byte in target.iter_mut() {
                    *byte = bytes.get(at).copied().unwrap_or(0);
                    at += 1;
                }
            }
        }
        1 => {
            bytes.resize(bytes.len().max(end), 0);
            for vector in vectors {
                let source =
                    unsafe { std::slice::from_raw_parts(vector.data as *const u8, vector.size) };
                bytes[at..at + vector.size].copy_from_slice(source);
                at += vector.size;
            }
        }
        3 => {
            bytes.resize(bytes.len().max(end), 0);
            bytes[at..end].fill(0);
        }
        6 => bytes.resize(at, 0),
        _ => (),
    }
    unsafe { varve_storage_complete(request, OK, 0) };
}

extern "C" fn get_size(owner: *mut c_void) -> u64 {
    unsafe { (*(owner as *mut Vec<u8>)).len() as u64 }
}

fn new_error() -> Error {
    let mut error: Error = unsafe { std::mem::zeroed() };
    error.size = std::mem::size_of::<Error>();
    error
}

fn must(code: i32, error: &Error) {
    if code != OK {
        panic!("{}", unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_string_lossy());
    }
}

// Submits a request and waits until it comes out.
fn run(engine: *mut Engine, queue: *mut Queue, request: Request) -> Completion {
    let mut done: Completion = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { varve_queue_submit(queue, &request, 1, null_mut()) }, 1);
    while unsafe { varve_queue_reap(queue, &mut done, 1) } == 0 {
        unsafe { varve_engine_wait(engine, -1) };
    }
    assert_eq!(done.user_data, request.user_data);
    done
}

fn request(operation: u32, user_data: u64, offset: u64, memory: &mut [u8]) -> Request {
    let mut request: Request = unsafe { std::mem::zeroed() };
    request.user_data = user_data;
    request.operation = operation;
    request.offset = offset;
    request.length = memory.len() as u64;
    request.data = memory.as_mut_ptr() as *mut c_void;
    request
}

fn main() {
    let mut error = new_error();
    let e: *mut Error = &mut error;
    let mut bytes: Vec<u8> = Vec::new();
    let (mut engine, mut storage, mut image, mut queue) =
        (null_mut(), null_mut(), null_mut(), null_mut());
    unsafe {
        must(varve_engine_create(null(), &mut engine, e), &*e);
        let callbacks = StorageCallbacks {
            size: std::mem::size_of::<StorageCallbacks>(),
            owner: &mut bytes as *mut Vec<u8> as *mut c_void,
            name: null(),
            flags: 0,
            request_alignment: 0,
            memory_alignment: 0,
            reserved: 0,
            submit,
            get_size,
            lock: None,
            unlock: None,
            close: None,
        };
        must(varve_storage_open_callbacks(engine, &callbacks, &mut storage, e), &*e);
        // Shorter structs than the library's: the rest has its defaults.
        let create = CreateOptions { size: std::mem::size_of::<CreateOptions>(), disk_bytes: 1 << 20 };
        must(varve_image_create_in(storage, null_mut(), &create, e), &*e);
        let open = OpenOptions {
            size: std::mem::size_of::<OpenOptions>(),
            format: 0,
            flags: OPEN_WRITABLE,
        };
        must(varve_image_open_storage(storage, &open, &mut image, e), &*e);
        must(varve_queue_create(image, 8, &mut queue, e), &*e);
    }
    let mut written = vec![7u8; 10_000];
    assert_eq!(run(engine, queue, request(WRITE, 1, 500, &mut written)).code, OK);
    let mut read = vec![0u8; 10_000];
    assert_eq!(run(engine, queue, request(READ, 2, 500, &mut read)).code, OK);
    assert_eq!(read, written);
    let beyond = run(engine, queue, request(READ, 3, 1 << 20, &mut read));
    assert_eq!((beyond.code, beyond.offset), (OUT_OF_RANGE, 1 << 20));

    unsafe { must(varve_snapshot_create(image, null(), null_mut(), e), &*e) };
    let mut later = vec![9u8; 10_000];
    assert_eq!(run(engine, queue, request(WRITE, 4, 500, &mut later)).code, OK);
    unsafe {
        must(varve_snapshot_apply(image, 0, e), &*e);
        let target = read.as_mut_ptr() as *mut c_void;
        must(varve_image_read(image, 500, target, read.len(), e), &*e);
        assert_eq!(read, written);
        must(varve_queue_close(queue, e), &*e);
        must(varve_image_close(image, e), &*e);
        must(varve_engine_destroy(engine, e), &*e);
    }
    println!("varve from Rust: a disk of {} bytes in a vector, and its snapshot", bytes.len());
}
