/* llmrun on a terminal: a chat.                                                                                       */
#include "runtime/cli/cli.h"

int chat_main(cli_options *o) {
    (void)o;
    return cli_fail(EXIT_USAGE, "no prompt: give -p TEXT, -f FILE or text on stdin");
}
