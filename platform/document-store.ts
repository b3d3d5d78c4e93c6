import type { DocumentNode } from 'graphql';
import { LRUCache } from 'lru-cache';

/** A parsed document takes about thirty times the memory of its text. */
const MAX_TEXT_CHARACTERS = 512 * 1024;

/**
 * Where an Apollo server keeps parsed and validated documents. Its own store measures them by their JSON, which lets strangers'
 * documents fill hundreds of megabytes.
 */
export function createDocumentStore() {
  const documents = new LRUCache<string, DocumentNode>({
    maxSize: MAX_TEXT_CHARACTERS,
    sizeCalculation: ({ loc }) => Math.max(200, loc?.source.body.length ?? 0),
  });
  return {
    get: async (hash: string) => documents.get(hash),
    set: async (hash: string, document: DocumentNode) => void documents.set(hash, document),
    delete: async (hash: string) => documents.delete(hash),
  };
}
