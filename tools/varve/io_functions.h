// The functions behind the commands, one file per group.
#pragma once

#include "io_command.h"

namespace varve::tool {

// io_read.cc, io_write.cc, io_async_commands.cc
bool io_read(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_readv(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_write(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_writev(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_aio_read(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_aio_write(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_aio_flush(IoSession& session, const IoCommand& command, IoArguments& arguments);

// io_disk.cc
bool io_flush(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_discard(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_truncate(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_alloc(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_map(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_length(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_info(IoSession& session, const IoCommand& command, IoArguments& arguments);

// io_image.cc
bool io_open(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_reopen(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_close(IoSession& session, const IoCommand& command, IoArguments& arguments);

// io_process.cc
bool io_sleep(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_sigraise(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_abort(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_quit(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_help(IoSession& session, const IoCommand& command, IoArguments& arguments);

// io_refused.cc
bool io_break(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_remove_break(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_resume(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_wait_break(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_zone_report(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_zone_range(IoSession& session, const IoCommand& command, IoArguments& arguments);
bool io_zone_append(IoSession& session, const IoCommand& command, IoArguments& arguments);

// The longer text of `help COMMAND`; null where the usage line says it all.
[[nodiscard]] const char* io_long_help(std::string_view command);

}  // namespace varve::tool
