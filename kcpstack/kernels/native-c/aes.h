/* AES (FIPS 197) with the processor's own instructions, for many datagrams at once.
 *
 * Only where kcp_level() is LEVEL_SSE or above: there is no form of it here for other processors, since one made of
 * tables would tell its key by its timing.  Everything below takes the same time for all keys and data.
 */

#ifndef KCPSTACK_AES_H
#define KCPSTACK_AES_H

#include "span.h"

#define AES_BLOCK 16
#define GCM_NONCE 12
#define GCM_TAG 16

typedef struct {
    uint8_t keys[15][AES_BLOCK]; /* round keys */
    int rounds;                  /* 10, 12 or 14 */
} aes_key;

typedef struct {
    aes_key key;
    uint8_t powers[8][AES_BLOCK]; /* H, H^2 ... H^8 of GHASH */
} gcm_key;

/* key: 16, 24 or 32 bytes.  0 where this processor cannot, or the length is wrong. */
int aes_expand(aes_key *schedule, const uint8_t *key, size_t length);
int gcm_expand(gcm_key *schedule, const uint8_t *key, size_t length);

/* CFB with full-block feedback (NIST SP 800-38A), in place, each datagram from the same IV. */
void aes_cfb_encrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count);
void aes_cfb_decrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count);

/* GCM (NIST SP 800-38D) without associated data, in place, of ``length`` bytes; the tag is written to ``tag``, or compared
 * with it.  gcm_open returns 1 where the tag is right; else 0, and ``data`` is as it was. */
void gcm_seal(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, uint8_t *tag);
int gcm_open(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, const uint8_t *tag);

#endif
