/*
 * A network on an AVR, such as an Arduino Mega 2560 has: the weights stay in flash.
 *
 * It sends over the first serial line how many rows of the network's own test are not as in Python, within the bounds
 * in it: an AVR has no fused multiply-add, so the network is written with exact=False. docs/c.md has the commands.
 */

#include <avr/io.h>
#include <stdio.h>

#include "net.h"

static int put(char letter, FILE *stream)
{
    (void)stream;
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UDR0 = (unsigned char)letter;
    return 0;
}

int main(void)
{
    static FILE serial = FDEV_SETUP_STREAM(put, NULL, _FDEV_SETUP_WRITE);

    UBRR0 = 103; /* 9600 baud at 16 MHz */
    UCSR0B = 1 << TXEN0;
    fprintf(&serial, "rows of the test that are not as in Python: %d\n", net_test());
    for (;;) {
    }
}
